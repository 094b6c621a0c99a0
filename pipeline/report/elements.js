  // What the halves of the page are made of. Texts reach the page through textContent alone; there is no innerHTML,
  // and the page's policy forbids it. All files of the script stand in one function, in the order page.py names.
  const byId = (id) => document.getElementById(id);
  const data = JSON.parse(byId("data").textContent);
  const MARKS = { accepted: "✓", rejected: "✕", lacking: "–" };

  function make(tag, className, ...children) {
    const element = document.createElement(tag);
    if (className) element.className = className;
    element.append(...children.filter((child) => child !== null)); // a string becomes a text, never markup
    return element;
  }
  function svg(tag, attributes) {
    const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    return element;
  }
  const count = (number, one, many = one + "s") => `${number.toLocaleString("en")} ${number === 1 ? one : many}`;
  const otherwise = (event) => event.ctrlKey || event.metaKey || event.shiftKey; // a new tab or window is asked for

  // ---- thumbnails: blocks after this script, which the browser may still be reading ---------------------------
  const blocks = new Map();
  function thumbnail(number) {
    const block = Math.floor(number / data.perBlock);
    if (!blocks.has(block)) {
      const element = byId(`thumbnails-${block}`);
      // The last block but one is whole when the next element exists; the very last one when all is read.
      if (!element || (document.readyState === "loading" && !element.nextElementSibling)) return null;
      blocks.set(block, JSON.parse(element.textContent));
    }
    return blocks.get(block)[number % data.perBlock];
  }
  function thumb(number) {
    const image = make("img");
    image.alt = "";
    image.decoding = "async";
    const url = thumbnail(number);
    if (url === "") return make("span", "thumb", make("span", "absent", "no picture"));
    if (url === null) image.dataset.waits = number;
    else image.src = url;
    return make("span", "thumb", image);
  }
  document.addEventListener("DOMContentLoaded", () => {
    for (const image of document.querySelectorAll("img[data-waits]")) {
      const url = thumbnail(Number(image.dataset.waits));
      if (url) image.src = url;
      delete image.dataset.waits;
    }
  });

  // ---- a picture with its boxes ------------------------------------------------------------------------------
  // Of { width, height, roles: [{ role, box }] }; the width is 0 where the data set does not know the picture.
  function framed(number, alt, picture) {
    const frame = make("div", "frame");
    const url = thumbnail(number);
    if (url) {
      const image = make("img");
      image.alt = alt;
      image.src = url;
      frame.append(image);
    } else {
      frame.classList.add("empty");
      frame.append(make("p", "absent", url === null ? "still loading" : data.missing[number] || "no picture"));
    }
    if (url === null) addEventListener("load", () => frame.replaceWith(framed(number, alt, picture)), { once: true });
    if (picture.width) {
      frame.style.aspectRatio = `${picture.width} / ${picture.height}`;
      frame.style.setProperty("--shape", picture.width / picture.height);
      frame.append(...overlay(picture));
    }
    return frame;
  }
  function overlay(p) {
    const drawing = svg("svg", {
      class: "boxes", viewBox: `0 0 ${p.width} ${p.height}`, preserveAspectRatio: "none", "aria-hidden": "true",
    });
    const labels = make("div", "labels");
    labels.setAttribute("aria-hidden", "true");
    const taken = []; // where labels are, in percent: one that would cover another goes below it
    p.roles.forEach((role, i) => {
      if (!role.box) return;
      const [x1, y1, x2, y2] = role.box;
      const at = { x: x1, y: y1, width: Math.max(0, x2 - x1), height: Math.max(0, y2 - y1), "data-role": i };
      drawing.append(svg("rect", { ...at, class: "halo" }), svg("rect", { ...at, class: `box role-${i}` }));
      const label = make("span", `label role-${i}`, role.role);
      label.dataset.role = i;
      const left = 100 * Math.max(0, Math.min(x1 / p.width, 0.86));
      let top = 100 * Math.max(0, Math.min(y1 / p.height, 0.94));
      while (top < 90 && taken.some(([x, y]) => Math.abs(x - left) < 24 && Math.abs(y - top) < 7)) top += 7.5;
      taken.push([left, top]);
      label.style.left = `${left}%`;
      label.style.top = `${top}%`;
      labels.append(label);
    });
    return [drawing, labels];
  }

  // ---- what is said of it ------------------------------------------------------------------------------------
  // Rows of [role, whether it has a box, cells], each beside the colour of its box.
  function roleTable(heads, rows) {
    const titles = heads.map((text) => make("th", "", text));
    for (const title of titles) title.scope = "col";
    const lines = rows.map(([role, boxed, cells], i) => {
      const name = make("th", "", make("span", `swatch role-${i}${boxed ? "" : " none"}`), role);
      name.scope = "row";
      const line = make("tr", "", name, ...cells);
      line.dataset.role = i;
      return line;
    });
    return make("table", "roles", make("thead", "", make("tr", "", ...titles)), make("tbody", "", ...lines));
  }
  // Headed by its kind and its state, and at the end of the line what is said beside them.
  function rationalePart(state, kind, beside) {
    const head = make("h3", "", make("span", `mark ${state}`, MARKS[state]), ` ${kind.polarity} ${kind.aspect} `,
      make("span", "state", beside));
    return make("article", `rationale ${state}`, head);
  }
