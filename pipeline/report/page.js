  // The page's own script, in one function with predictions.js. Texts reach the page through textContent alone;
  // there is no innerHTML, and the page's policy forbids it.
  const byId = (id) => document.getElementById(id);
  const data = JSON.parse(byId("data").textContent);
  const pictures = data.pictures;
  const numberOf = new Map(pictures.map((picture, number) => [picture.image, number]));
  const FILTERS = ["verb", "split", "subset", "aspect", "polarity", "status", "min", "max", "order"];
  const PAGE = 48; // cards added at a time
  const MARKS = { accepted: "✓", rejected: "✕", lacking: "–" };

  // ---- elements ------------------------------------------------------------------------------------------
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

  // A text with the words that were searched for marked.
  function marked(tag, className, text) {
    const element = make(tag, className);
    const found = words();
    if (!found.length) {
      element.textContent = text;
      return element;
    }
    const pattern = new RegExp(found.map((word) => word.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")).join("|"), "gi");
    let end = 0;
    for (const match of text.matchAll(pattern)) {
      element.append(text.slice(end, match.index), make("mark", "", match[0]));
      end = match.index + match[0].length;
    }
    element.append(text.slice(end));
    return element;
  }

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
  function show(image, number) {
    const url = thumbnail(number);
    if (url) image.src = url;
    else if (url === null) image.dataset.waits = number;
    return url;
  }
  document.addEventListener("DOMContentLoaded", () => {
    for (const image of document.querySelectorAll("img[data-waits]")) {
      show(image, Number(image.dataset.waits));
      delete image.dataset.waits;
    }
  });

  // ---- what is looked for ------------------------------------------------------------------------------------
  const words = () => byId("q").value.toLowerCase().split(/\s+/).filter(Boolean);
  const searchable = new Array(pictures.length);
  function allText(number) {
    if (searchable[number] === undefined) {
      const p = pictures[number];
      searchable[number] = [
        p.image, p.verb, p.split, p.subset,
        ...p.roles.flatMap((role) => [role.role, ...role.nouns]),
        ...p.rationales.flatMap((kind) => kind.attempts.flatMap((a) => [a.text, a.reason, a.contrast, a.judge])),
        ...p.failures.flatMap((failure) => [failure.stage, failure.reason, failure.raw]),
      ].join("\n").toLowerCase();
    }
    return searchable[number];
  }
  const stateOf = (kind) => (kind.attempts.some((a) => a.usable) ? "accepted"
    : kind.attempts.some((a) => a.status === "rejected") ? "rejected" : "lacking");
  const failed = (p) => p.failures.some((failure) => !failure.resolved);
  const scores = (p) => p.rationales.flatMap((kind) => kind.attempts.map((a) => a.score)).filter((s) => s !== null);
  const attempts = (p) => p.rationales.reduce((sum, kind) => sum + kind.attempts.length, 0);

  // One rationale must meet all that is asked of a rationale.
  function kindMatches(kind, wanted) {
    if (wanted.aspect && kind.aspect !== wanted.aspect) return false;
    if (wanted.polarity && kind.polarity !== wanted.polarity) return false;
    if (wanted.status === "lacking" && stateOf(kind) === "accepted") return false;
    const some = (test) => kind.attempts.some(test);
    const scored = (a) => (!wanted.min && !wanted.max)
      || (a.score !== null && a.score >= (wanted.min || 1) && a.score <= (wanted.max || 5));
    if (wanted.status === "accepted") return some((a) => a.usable && scored(a));
    if (wanted.status === "rejected") return some((a) => a.status === "rejected" && scored(a));
    return !wanted.min && !wanted.max ? true : some(scored);
  }
  function matches(number, wanted, sought) {
    const p = pictures[number];
    if (wanted.verb && p.verb !== wanted.verb) return false;
    if (wanted.split && p.split !== wanted.split) return false;
    if (wanted.subset && p.subset !== wanted.subset) return false;
    if (wanted.status === "failed") {
      if (!failed(p)) return false;
    } else if (wanted.aspect || wanted.polarity || wanted.status || wanted.min || wanted.max) {
      if (!p.rationales.some((kind) => kindMatches(kind, wanted))) return false;
    }
    return sought.every((word) => allText(number).includes(word));
  }
  const ORDERS = {
    name: (p) => p.image,
    score: (p) => Math.min(9, ...scores(p)),
    attempts: (p) => -attempts(p),
    near: (p) => -Math.max(-2, ...p.near.map((other) => other.similarity)),
  };

  // ---- the gallery ---------------------------------------------------------------------------------------------
  const cards = byId("cards");
  let found = []; // numbers of the pictures that match, in order
  let shown = 0; // how many of them have a card
  const wantedNow = () => Object.fromEntries(FILTERS.map((name) => [name, byId(name).value]));

  function refresh() {
    const wanted = wantedNow(), sought = words();
    found = pictures.map((_, number) => number).filter((number) => matches(number, wanted, sought));
    const rank = ORDERS[wanted.order];
    if (rank) {
      const ranks = new Map(found.map((number) => [number, rank(pictures[number])]));
      found.sort((a, b) => (ranks.get(a) > ranks.get(b)) - (ranks.get(a) < ranks.get(b)) || a - b);
    }
    applied = filterTerms().toString();
    cards.replaceChildren();
    shown = 0;
    more(PAGE);
    watch();
    const narrowed = found.length < pictures.length;
    byId("count").textContent = narrowed
      ? `${found.length.toLocaleString("en")} of ${count(pictures.length, "picture")}` : count(found.length, "picture");
    byId("nothing").hidden = found.length > 0;
    const active = FILTERS.filter((name) => wanted[name]).length;
    byId("active").textContent = active ? `(${active})` : "";
  }
  function more(least) {
    const until = Math.min(found.length, Math.max(shown + PAGE, least));
    const fresh = found.slice(shown, until).map((number, i) => card(number, shown + i));
    cards.append(...fresh);
    shown = until;
  }
  function card(number, place) {
    const p = pictures[number];
    const link = make("a", "pick");
    link.href = "#" + new URLSearchParams({ image: p.image });
    link.dataset.number = number;
    link.tabIndex = place === 0 ? 0 : -1; // one stop for Tab; the arrows go on from there
    link.append(
      cardPicture(number),
      make("span", "verb", p.verb || "no verb"),
      make("span", "file", p.image),
      cardMarks(p),
    );
    return make("li", "", link);
  }
  function cardPicture(number) {
    const frame = make("span", "thumb");
    const image = make("img");
    image.alt = "";
    image.decoding = "async";
    if (show(image, number) === "") frame.append(make("span", "absent", "no picture"));
    else frame.append(image);
    return frame;
  }
  function cardMarks(p) {
    const marks = make("span", "marks");
    if (p.subset && p.subset !== "seen") marks.append(make("span", "tag", p.subset));
    if (p.split && p.split !== "train") marks.append(make("span", "tag", p.split));
    if (failed(p)) marks.append(make("span", "tag bad", "failed"));
    if (!p.rationales.length) {
      if (!failed(p)) marks.append(make("span", "tag faint", "no rationales"));
      return marks;
    }
    for (const kind of p.rationales) {
      const state = stateOf(kind);
      const mark = make("span", `mark ${state} ${kind.polarity} ${kind.aspect}`, MARKS[state]);
      mark.title = `${kind.polarity} ${kind.aspect}: ${state}`;
      mark.append(make("span", "hidden", ` ${mark.title}. `));
      marks.append(mark);
    }
    const most = Math.max(...p.rationales.map((kind) => kind.attempts.length));
    const given = scores(p), low = Math.min(...given), high = Math.max(...given);
    const cost = [
      given.length ? `score ${low === high ? low : `${low}–${high}`}` : null,
      most > 1 ? `${most} attempts` : null,
    ].filter(Boolean);
    if (cost.length) marks.append(make("span", "cost", cost.join(" · ")));
    return marks;
  }
  const observer = new IntersectionObserver((entries) => {
    if (!entries.some((entry) => entry.isIntersecting) || shown >= found.length) return;
    more(0);
    watch();
  }, { rootMargin: "1200px" });
  // Observed anew after every change: an end that stays in sight is told of only once.
  function watch() {
    observer.unobserve(byId("sentinel"));
    observer.observe(byId("sentinel"));
  }

  // Arrow keys: the grid's columns are counted from where the cards lie.
  function move(from, key) {
    const all = cards.children;
    let columns = 1;
    while (columns < all.length && all[columns].offsetTop === all[0].offsetTop) columns += 1;
    const place = [...all].indexOf(from.parentElement);
    const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns };
    const ends = { Home: 0, End: found.length - 1 };
    const to = key in ends ? ends[key] : place + steps[key];
    if (to < 0 && key === "ArrowUp") return byId("q").focus();
    if (to < 0 || to >= found.length) return undefined;
    if (to >= shown) more(to + PAGE);
    return focusCard(to);
  }
  function focusCard(place) {
    for (const link of cards.querySelectorAll('[tabindex="0"]')) link.tabIndex = -1;
    const link = cards.children[place].firstElementChild;
    link.tabIndex = 0;
    link.focus();
  }
  cards.addEventListener("keydown", (event) => {
    const keys = ["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", "Home", "End"];
    if (!keys.includes(event.key) || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    move(event.target.closest(".pick"), event.key);
  });
  cards.addEventListener("click", (event) => {
    const link = event.target.closest(".pick");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    open(Number(link.dataset.number));
  });

  // ---- the address: filters and the open picture, so that a page can be sent as it is looked at ----------------
  const viewer = byId("viewer");
  let current = null; // number of the open picture
  let pushed = false; // whether "back" closes it
  let applied = null; // the filters that the cards show
  let view = "store"; // or "predictions": which half of the page is shown
  history.scrollRestoration = "manual"; // "back" closes a picture, and must not scroll away from its card
  function filterTerms() {
    const terms = new URLSearchParams();
    if (byId("q").value.trim()) terms.set("q", byId("q").value.trim());
    for (const name of FILTERS) if (byId(name).value) terms.set(name, byId(name).value);
    return terms;
  }
  function address() {
    const terms = filterTerms();
    if (current !== null) terms.set("image", pictures[current].image);
    return "#" + terms;
  }
  function fromAddress() {
    const terms = new URLSearchParams(location.hash.slice(1));
    byId("q").value = terms.get("q") || "";
    for (const name of FILTERS) {
      byId(name).value = terms.get(name) || "";
      if (byId(name).selectedIndex < 0) byId(name).value = "";
    }
    if (applied !== filterTerms().toString()) refresh();
    const number = numberOf.get(terms.get("image"));
    if (number === undefined) shut();
    else display(number);
    const told = number !== undefined && terms.get("kind") && byId("texts").querySelector(`[data-kind="${CSS.escape(terms.get("kind"))}"]`);
    if (told) {
      told.scrollIntoView();
      told.focus({ preventScroll: true });
    }
  }

  // ---- one picture -----------------------------------------------------------------------------------------------
  function open(number) {
    const first = current === null;
    display(number);
    if (first) {
      history.pushState(null, "", address());
      pushed = true;
    } else history.replaceState(null, "", address());
  }
  function display(number) {
    current = number;
    const p = pictures[number];
    byId("viewer-title").textContent = p.verb || "no verb";
    const facts = [p.image, p.split, p.subset, p.width ? `${p.width} × ${p.height} pixels` : "not in the data set"];
    byId("viewer-facts").replaceChildren(
      make("span", "", facts.filter(Boolean).join(" · ")),
      ...(data.verbs[p.verb] ? [make("span", "sentence", data.verbs[p.verb])] : []),
    );
    byId("frame").replaceChildren(frame(number));
    byId("roles").replaceChildren(...roles(p));
    byId("near").replaceChildren(...near("Nearest pictures", p.near));
    byId("texts").replaceChildren(...texts(p));
    const place = found.indexOf(number);
    byId("place").textContent = place < 0 ? "not among those found" : `${place + 1} of ${found.length}`;
    byId("previous").disabled = place <= 0;
    byId("next").disabled = place < 0 || place === found.length - 1;
    if (!viewer.open) viewer.showModal();
    byId("viewer-body").scrollTop = 0;
    byId("viewer-title").focus({ preventScroll: true });
  }
  function shut() {
    if (viewer.open) viewer.close();
  }
  viewer.addEventListener("close", () => {
    const place = found.indexOf(current);
    current = null;
    if (view !== "store") return; // the other half is shown already, with its own address
    if (pushed) {
      pushed = false;
      history.back();
    } else history.replaceState(null, "", address());
    if (place >= 0) {
      if (place >= shown) more(place + PAGE);
      focusCard(place);
    }
  });
  function step(by) {
    const place = found.indexOf(current) + by;
    if (found.includes(current) && place >= 0 && place < found.length) open(found[place]);
  }

  function frame(number) {
    const p = pictures[number];
    const url = thumbnail(number);
    const figure = make("div", "frame");
    if (!url) {
      const why = url === null ? "still loading" : data.missing[number] || "no picture";
      figure.append(make("p", "absent", why));
      if (url === null) addEventListener("load", () => current === number && display(number), { once: true });
      if (!p.width) return figure;
      figure.classList.add("empty");
    } else {
      const image = make("img");
      image.alt = `${p.verb}: ${p.roles.map((role) => `${role.role} ${nouns(role).join(" or ")}`).join(", ")}`;
      image.src = url;
      figure.append(image);
    }
    if (p.width) {
      figure.style.aspectRatio = `${p.width} / ${p.height}`;
      figure.style.setProperty("--shape", p.width / p.height);
      figure.append(...overlay(p));
    }
    return figure;
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
  const nouns = (role) => [...new Set(role.nouns)].map((noun) => noun || "–");
  function roles(p) {
    if (!p.roles.length) return [];
    const rows = p.roles.map((role, i) => {
      const name = make("th", "", make("span", `swatch role-${i}${role.box ? "" : " none"}`), role.role);
      name.scope = "row";
      const told = nouns(role);
      const cell = told.length === 1 ? marked("td", "", told[0]) : make("td", "");
      if (told.length > 1) {
        // The annotators differ: each one's noun, in their order.
        role.nouns.forEach((noun, who) => {
          const line = make("span", "annotator", make("small", "", String(who + 1)), marked("span", "", noun || "–"));
          cell.append(line);
        });
      }
      const box = role.box ? role.box.map((v) => Math.round(v)).join(" ") : "none";
      const row = make("tr", "", name, cell, make("td", "figure", box));
      row.dataset.role = i;
      return row;
    });
    const head = make("tr", "", ...["role", "noun (of each annotator where they differ)", "box x1 y1 x2 y2"].map((text) => {
      const cell = make("th", "", text);
      cell.scope = "col";
      return cell;
    }));
    return [make("table", "roles", make("thead", "", head), make("tbody", "", ...rows))];
  }
  byId("roles").addEventListener("pointerover", (event) => point(event.target.closest("tr[data-role]")));
  byId("roles").addEventListener("pointerleave", () => point(null));
  function point(row) {
    byId("frame").classList.toggle("pointing", Boolean(row));
    for (const element of byId("frame").querySelectorAll("[data-role]")) {
      element.classList.toggle("pointed", Boolean(row) && element.dataset.role === row.dataset.role);
    }
  }

  function near(title, others) {
    if (!others.length) return [];
    const items = others.map((other) => {
      const item = make("li", "");
      const number = numberOf.get(other.image);
      const similarity = make("span", "similarity", other.similarity.toFixed(3));
      const told = [other.verb, other.kind].filter(Boolean).join(" · ");
      if (number === undefined) {
        const absent = other.kind ? null : make("span", "thumb", make("span", "absent", "not on this page"));
        item.append(make("span", "", absent, similarity, make("span", "verb", told), make("span", "file", other.image)));
        item.title = "in the store, but not on this page";
        return item;
      }
      const link = make("a", "");
      link.href = "#" + new URLSearchParams({ image: other.image });
      link.addEventListener("click", (event) => {
        if (event.ctrlKey || event.metaKey || event.shiftKey) return;
        event.preventDefault();
        open(number);
      });
      if (!other.kind) link.append(cardPicture(number));
      link.append(similarity, make("span", "verb", told), make("span", "file", other.image));
      item.append(link);
      return item;
    });
    return [make("h3", "", title), make("ol", others[0].kind ? "near" : "near pictures", ...items)];
  }

  function texts(p) {
    const parts = p.failures.map(failure);
    if (!p.rationales.length) {
      parts.push(make("p", "quiet", p.failures.length ? "There are no rationales of this picture."
        : "There are no rationales of this picture: stage one writes them for training pictures."));
    }
    return [...parts, ...p.rationales.map(rationale)];
  }
  function failure(f) {
    const told = f.resolved ? `An earlier failure in ${f.stage}, since made good` : `Failed in ${f.stage}`;
    const part = make("article", f.resolved ? "rationale" : "rationale failed",
      make("h3", "", told), marked("p", "reason", f.reason),
      make("p", "quiet", f.attempts ? `asked ${count(f.attempts, "time")}` : "never asked"));
    if (f.raw) part.append(make("details", "", make("summary", "", "Raw answer"), marked("pre", "", f.raw)));
    return part;
  }
  function rationale(kind) {
    const state = stateOf(kind);
    const head = make("h3", "", make("span", `mark ${state}`, MARKS[state]), ` ${kind.polarity} ${kind.aspect} `,
      make("span", "state", state));
    const part = make("article", `rationale ${state}`, head);
    part.dataset.kind = `${kind.polarity}-${kind.aspect}`;
    part.tabIndex = -1;
    const last = kind.attempts.findLast((a) => a.usable) || kind.attempts.at(-1);
    if (last && last.contrast) part.append(make("p", "contrast", make("small", "", "contrast "), marked("span", "", last.contrast)));
    if (!kind.attempts.length) part.append(make("p", "quiet", "This rationale was never written."));
    else part.append(attempt(last, kind.attempts.length));
    const others = kind.attempts.filter((a) => a !== last);
    if (others.length) {
      const list = make("details", "others", make("summary", "", count(others.length, "other attempt")),
        ...others.map((a) => attempt(a, kind.attempts.length)));
      list.open = others.some((a) => words().some((word) => (a.text + a.reason).toLowerCase().includes(word)));
      part.append(list);
    }
    if (kind.near.length) {
      part.append(make("details", "others", make("summary", "", `Nearest texts (${kind.near[0].similarity.toFixed(3)})`),
        ...near("", kind.near).slice(1)));
    }
    return part;
  }
  function attempt(a, of) {
    const verdict = [of > 1 ? a.status : null, a.score === null ? null : `${a.score} of 5 points`, `by ${a.judge}`];
    const cost = [a.tokens_in || a.tokens_out ? `${a.tokens_in} tokens read, ${a.tokens_out} written` : null,
      a.seconds ? `${a.seconds} s` : null, a.finish === "stop" ? null : `ended by ${a.finish}`];
    const facts = [of > 1 ? `attempt ${a.number} of ${of}` : null, ...verdict, ...cost].filter(Boolean);
    const part = make("div", `attempt ${a.status}`, marked("p", "text", a.text));
    if (a.reason) part.append(make("p", "reason", make("small", "", "because "), marked("span", "", a.reason)));
    const line = make("p", "quiet", facts.join(" · "));
    line.title = `${a.teacher}, prompt ${a.prompt}`;
    part.append(line);
    return part;
  }

  // ---- keys, buttons, filters ----------------------------------------------------------------------------------------
  byId("close").addEventListener("click", shut);
  byId("previous").addEventListener("click", () => step(-1));
  byId("next").addEventListener("click", () => step(1));
  byId("boxes").addEventListener("change", (event) => byId("frame").classList.toggle("bare", !event.target.checked));
  viewer.addEventListener("click", (event) => { if (event.target === viewer) shut(); });
  viewer.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.key === "ArrowLeft") step(-1);
    else if (event.key === "ArrowRight") step(1);
    else if (event.key === "b") byId("boxes").click();
    else return;
    event.preventDefault();
  });
  addEventListener("keydown", (event) => {
    const typing = event.target.matches("input, select, textarea");
    if (event.key === "/" && !typing && !document.querySelector("dialog[open]") && !event.ctrlKey && !event.metaKey) {
      event.preventDefault();
      byId(view === "store" ? "q" : "said-q").focus();
      byId(view === "store" ? "q" : "said-q").select();
    }
  });
  let waiting = 0;
  function changed() {
    refresh();
    history.replaceState(null, "", address());
  }
  byId("q").addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(changed, 120);
  });
  byId("q").addEventListener("keydown", (event) => {
    if (event.key === "ArrowDown" && found.length) {
      event.preventDefault();
      focusCard(0);
    }
  });
  byId("filters").addEventListener("change", (event) => { if (event.target.id !== "q") changed(); });
  byId("filters").addEventListener("submit", (event) => event.preventDefault());
  byId("filters").addEventListener("reset", () => setTimeout(changed));

  // ---- beginning -------------------------------------------------------------------------------------------------------
  for (const name of ["verb", "split", "subset"]) {
    const values = new Map();
    for (const p of pictures) if (p[name]) values.set(p[name], (values.get(p[name]) || 0) + 1);
    for (const [value, times] of [...values].sort()) {
      const option = make("option", "", `${value} (${times})`);
      option.value = value;
      byId(name).append(option);
    }
  }
  byId("gallery-notes").append(...data.notes.map((note) => make("li", "", note)));
  byId("more").open = matchMedia("(min-width: 760px)").matches;
