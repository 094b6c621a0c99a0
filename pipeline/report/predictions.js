  // The predictions: cards, filters and one prediction beside its annotation. Helpers come from page.js.
  const predictions = (() => {
    const { said, rationales, notes } = JSON.parse(byId("predictions").textContent);
    const placeOf = new Map(said.map((one, number) => [one.image, number]));
    const FILTERS = ["result", "subset", "verb", "taken", "roles", "order"];
    const at = (name) => byId(`said-${name}`);
    const dialog = byId("judged");
    const cards = at("cards");
    let found = []; // numbers of the predictions that match, in order
    let shown = 0; // how many of them have a card
    let current = null;
    let pushed = false;
    let applied = null;

    // ---- what is looked for --------------------------------------------------------------------------------------
    const right = (p) => p.rank === 0;
    const percent = (probability) => `${(100 * probability).toFixed(probability < 0.0995 ? 1 : 0)} %`;
    const told = (noun) => noun || "not filled";
    const RESULTS = {
      right, wrong: (p) => p.rank > 0, near: (p) => p.rank > 0 && p.rank < 5, far: (p) => p.rank >= 5,
    };
    const ROLES = {
      nouns: (p) => p.roles.every((role) => role.right),
      all: (p) => p.roles.every((role) => role.grounded),
      noun: (p) => p.roles.some((role) => !role.right),
      box: (p) => p.roles.some((role) => role.right && !role.grounded),
    };
    const ORDERS = { name: (p) => p.image, sure: (p) => -p.top[0][1], unsure: (p) => p.top[0][1] };
    const texts = said.map((p) => [
      p.image, p.verb, p.subset, p.top[0][0], ...p.roles.flatMap((role) => [role.role, role.noun, ...role.nouns]),
    ].join("\n").toLowerCase());
    const wantedNow = () => Object.fromEntries(FILTERS.map((name) => [name, at(name).value]));
    function matches(number, wanted, sought) {
      const p = said[number];
      return (!wanted.subset || p.subset === wanted.subset) && (!wanted.verb || p.verb === wanted.verb)
        && (!wanted.taken || p.top[0][0] === wanted.taken)
        && (!wanted.result || RESULTS[wanted.result](p)) && (!wanted.roles || ROLES[wanted.roles](p))
        && sought.every((word) => texts[number].includes(word));
    }

    // ---- the cards -------------------------------------------------------------------------------------------------
    function refresh() {
      const wanted = wantedNow();
      const sought = at("q").value.toLowerCase().split(/\s+/).filter(Boolean);
      found = said.map((_, number) => number).filter((number) => matches(number, wanted, sought));
      const rank = ORDERS[wanted.order];
      if (rank) {
        const ranks = new Map(found.map((number) => [number, rank(said[number])]));
        found.sort((a, b) => (ranks.get(a) > ranks.get(b)) - (ranks.get(a) < ranks.get(b)) || a - b);
      }
      applied = terms().toString();
      cards.replaceChildren();
      shown = 0;
      more(PAGE);
      watch();
      const all = count(said.length, "prediction");
      const good = found.filter((number) => right(said[number])).length;
      at("count").textContent = (found.length < said.length ? `${found.length.toLocaleString("en")} of ${all}` : all)
        + (found.length ? `, ${good.toLocaleString("en")} with the right verb` : "");
      at("nothing").hidden = found.length > 0 || !said.length;
      const active = FILTERS.filter((name) => wanted[name]).length;
      at("active").textContent = active ? `(${active})` : "";
    }
    function more(least) {
      const until = Math.min(found.length, Math.max(shown + PAGE, least));
      cards.append(...found.slice(shown, until).map((number, i) => card(number, shown + i)));
      shown = until;
    }
    function card(number, place) {
      const p = said[number];
      const link = make("a", "pick");
      link.href = address(p.image);
      link.dataset.number = number;
      link.tabIndex = place === 0 ? 0 : -1;
      const state = right(p) ? "accepted" : "rejected";
      const mark = make("span", `mark ${state}`, MARKS[state], make("span", "hidden", right(p) ? " right. " : " wrong. "));
      const tags = make("span", "marks", mark);
      if (p.subset !== "seen") tags.append(make("span", "tag", p.subset));
      const nouns = p.roles.filter((role) => role.right).length, boxes = p.roles.filter((role) => role.grounded).length;
      tags.append(make("span", "cost", `${percent(p.top[0][1])} · nouns ${nouns}/${p.roles.length} · grounded ${boxes}/${p.roles.length}`));
      link.append(
        picture(p), make("span", "verb", p.top[0][0]),
        make("span", "file", right(p) ? p.image : `annotated ${p.verb}`), tags,
      );
      return make("li", "", link);
    }
    function picture(p) {
      const holder = make("span", "thumb");
      const image = make("img");
      image.alt = "";
      image.decoding = "async";
      if (show(image, p.thumbnail) === "") holder.append(make("span", "absent", "no picture"));
      else holder.append(image);
      return holder;
    }
    const observer = new IntersectionObserver((entries) => {
      if (!entries.some((entry) => entry.isIntersecting) || shown >= found.length) return;
      more(0);
      watch();
    }, { rootMargin: "1200px" });
    function watch() {
      observer.unobserve(at("sentinel"));
      observer.observe(at("sentinel"));
    }
    function focusCard(place) {
      for (const link of cards.querySelectorAll('[tabindex="0"]')) link.tabIndex = -1;
      const link = cards.children[place].firstElementChild;
      link.tabIndex = 0;
      link.focus();
    }
    function move(from, key) {
      const all = cards.children;
      let columns = 1;
      while (columns < all.length && all[columns].offsetTop === all[0].offsetTop) columns += 1;
      const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns };
      const ends = { Home: 0, End: found.length - 1 };
      const to = key in ends ? ends[key] : [...all].indexOf(from.parentElement) + steps[key];
      if (to < 0 && key === "ArrowUp") at("q").focus();
      else if (to >= 0 && to < found.length) {
        if (to >= shown) more(to + PAGE);
        focusCard(to);
      }
    }

    // ---- the address -------------------------------------------------------------------------------------------------
    function terms() {
      const found = new URLSearchParams({ view: "predictions" });
      if (at("q").value.trim()) found.set("q", at("q").value.trim());
      for (const name of FILTERS) if (at(name).value) found.set(name, at(name).value);
      return found;
    }
    function address(image) {
      const all = terms();
      if (image) all.set("image", image);
      return "#" + all;
    }
    const here = () => address(current === null ? null : said[current].image);
    function fromAddress(given) {
      pushed = false;
      at("q").value = given.get("q") || "";
      for (const name of FILTERS) {
        at(name).value = given.get(name) || "";
        if (at(name).selectedIndex < 0) at(name).value = "";
      }
      if (applied !== terms().toString()) refresh();
      const number = placeOf.get(given.get("image"));
      if (number === undefined) shut();
      else display(number);
    }
    function shut() {
      if (dialog.open) dialog.close();
    }

    // ---- one prediction ------------------------------------------------------------------------------------------------
    function open(number) {
      const first = current === null;
      display(number);
      if (first) {
        history.pushState(null, "", here());
        pushed = true;
      } else history.replaceState(null, "", here());
    }
    function display(number) {
      current = number;
      const p = said[number];
      const state = right(p) ? "accepted" : "rejected";
      byId("judged-title").replaceChildren(make("span", `mark ${state}`, MARKS[state]), ` ${p.top[0][0]}`);
      const facts = [
        right(p) ? "the annotated verb" : `annotated ${p.verb}, ranked ${(p.rank + 1).toLocaleString("en")}`,
        p.subset, p.image, `${p.width} × ${p.height} pixels`,
      ];
      byId("judged-facts").textContent = facts.join(" · ");
      byId("judged-frames").replaceChildren(
        beside(p, "predicted", p.roles.map((role) => role.box)), beside(p, "annotated", p.roles.map((role) => role.annotated)));
      byId("judged-frames").classList.toggle("bare", !byId("judged-boxes").checked);
      byId("judged-roles").replaceChildren(roleTable(p));
      byId("judged-texts").replaceChildren(verbs(p), ...nearest(p));
      const place = found.indexOf(number);
      byId("judged-place").textContent = place < 0 ? "not among those found" : `${place + 1} of ${found.length}`;
      byId("judged-previous").disabled = place <= 0;
      byId("judged-next").disabled = place < 0 || place === found.length - 1;
      if (!dialog.open) dialog.showModal();
      byId("judged-body").scrollTop = 0;
      for (const part of dialog.querySelectorAll(".look, .texts")) part.scrollTop = 0;
      byId("judged-title").focus({ preventScroll: true });
    }
    function beside(p, name, boxes) {
      const frame = make("div", "frame");
      const url = thumbnail(p.thumbnail);
      if (url) {
        const image = make("img");
        image.alt = `${p.image}, ${name}`;
        image.src = url;
        frame.append(image);
      } else {
        frame.classList.add("empty");
        frame.append(make("p", "absent", url === null ? "still loading" : data.missing[p.thumbnail] || "no picture"));
        const number = current;
        if (url === null) addEventListener("load", () => current === number && display(number), { once: true });
      }
      frame.style.aspectRatio = `${p.width} / ${p.height}`;
      frame.style.setProperty("--shape", p.width / p.height);
      const roles = p.roles.map((role, i) => ({ role: role.role, box: boxes[i] }));
      frame.append(...overlay({ width: p.width, height: p.height, roles }));
      const without = boxes.every((box) => !box) ? ", no box" : "";
      return make("figure", "", frame, make("figcaption", "quiet", name + without));
    }
    function verdict(good, text) {
      const mark = make("span", good ? "good" : "bad", good ? "✓ " : "✕ ");
      mark.append(make("span", "hidden", good ? "right: " : "wrong: "));
      return make("span", "", mark, text);
    }
    function roleTable(p) {
      const rows = p.roles.map((role, i) => {
        const boxed = role.box || role.annotated;
        const name = make("th", "", make("span", `swatch role-${i}${boxed ? "" : " none"}`), role.role);
        name.scope = "row";
        // What the box is worth beside the annotated one; the grounding counts only where the noun is right too.
        const fits = role.box && role.annotated ? overlap(role.box, role.annotated) : null;
        const box = fits === null ? (boxed ? verdict(false, role.box ? "none there" : "not found") : verdict(true, "none"))
          : verdict(fits >= 0.5, percent(fits));
        const row = make("tr", "", name, make("td", "", verdict(role.right, told(role.noun))),
          make("td", "", [...new Set(role.nouns.map(told))].join(" / ")), make("td", "", box));
        row.dataset.role = i;
        return row;
      });
      const heads = ["role", "predicted", "annotated", "box overlap"].map((text) => {
        const cell = make("th", "", text);
        cell.scope = "col";
        return cell;
      });
      return make("div", "", make("table", "roles", make("thead", "", make("tr", "", ...heads)), make("tbody", "", ...rows)),
        make("p", "quiet", right(p) ? "" : "The roles are those of the annotated verb, as SWiG scores them."));
    }
    function overlap(a, b) {
      const side = (i) => Math.max(0, Math.min(a[i + 2], b[i + 2]) - Math.max(a[i], b[i]));
      const area = (box) => Math.max(0, box[2] - box[0]) * Math.max(0, box[3] - box[1]);
      const shared = side(0) * side(1);
      return shared / Math.max(1e-7, area(a) + area(b) - shared);
    }
    function verbs(p) {
      const lines = p.top.map(([verb, probability]) => {
        const own = verb === p.verb;
        const bar = svg("svg", { viewBox: "0 0 100 4", preserveAspectRatio: "none", "aria-hidden": "true" });
        bar.append(svg("rect", { class: `bar ${own ? "accepted" : ""}`, width: Math.max(0.5, 100 * probability), height: 4 }));
        return make("li", "", make("span", "name", own ? `${verb} (annotated)` : verb), make("span", "count", percent(probability)), bar);
      });
      const part = make("section", "rationale", make("h3", "", "Most probable verbs"), make("ol", "ranking", ...lines));
      if (p.rank >= p.top.length) {
        part.append(make("p", "quiet", `The annotated verb, ${p.verb}, has rank ${(p.rank + 1).toLocaleString("en")}.`));
      }
      return part;
    }
    function nearest(p) {
      if (!p.near.length) return notes.length ? [make("p", "quiet", notes[notes.length - 1])] : [];
      const about = make("p", "quiet", "Rationales of training pictures nearest in text to the predicted verb and nouns, with their verdicts.");
      return [make("h3", "", "Nearest rationales"), about, ...p.near.map(([place, similarity]) => one(rationales[place], similarity))];
    }
    function one(r, similarity) {
      const state = r.status === "accepted" ? "accepted" : "rejected";
      const head = make("h3", "", make("span", `mark ${state}`, MARKS[state]), ` ${r.polarity} ${r.aspect} `,
        make("span", "state", similarity.toFixed(3)));
      const part = make("article", `rationale ${state}`, head, make("p", "text", r.text));
      if (r.contrast) part.append(make("p", "contrast", make("small", "", "contrast "), r.contrast));
      if (r.reason) part.append(make("p", "reason", make("small", "", "because "), r.reason));
      const facts = [r.status, `attempt ${r.attempt}`, r.score === null ? null : `${r.score} of 5 points`, `by ${r.judge}`];
      part.append(make("p", "quiet", facts.filter(Boolean).join(" · ")));
      const whose = `${r.verb}, ${r.image}`;
      if (numberOf.has(r.image)) {
        const link = make("a", "", whose);
        link.href = "#" + new URLSearchParams({ image: r.image, kind: `${r.polarity}-${r.aspect}` });
        part.append(make("p", "", "of ", link));
      } else part.append(make("p", "quiet", `of ${whose} (not on this page)`));
      return part;
    }

    // ---- keys, buttons, filters ------------------------------------------------------------------------------------------
    function step(by) {
      const place = found.indexOf(current) + by;
      if (found.includes(current) && place >= 0 && place < found.length) open(found[place]);
    }
    dialog.addEventListener("close", () => {
      const place = found.indexOf(current);
      current = null;
      if (view !== "predictions") return;
      if (pushed) {
        pushed = false;
        history.back();
      } else history.replaceState(null, "", here());
      if (place >= 0) {
        if (place >= shown) more(place + PAGE);
        focusCard(place);
      }
    });
    dialog.addEventListener("click", (event) => { if (event.target === dialog) shut(); });
    dialog.addEventListener("keydown", (event) => {
      if (event.altKey || event.ctrlKey || event.metaKey) return;
      if (event.key === "ArrowLeft") step(-1);
      else if (event.key === "ArrowRight") step(1);
      else if (event.key === "b") byId("judged-boxes").click();
      else return;
      event.preventDefault();
    });
    byId("judged-close").addEventListener("click", shut);
    byId("judged-previous").addEventListener("click", () => step(-1));
    byId("judged-next").addEventListener("click", () => step(1));
    byId("judged-boxes").addEventListener("change", (event) => byId("judged-frames").classList.toggle("bare", !event.target.checked));
    byId("judged-roles").addEventListener("pointerover", (event) => point(event.target.closest("tr[data-role]")));
    byId("judged-roles").addEventListener("pointerleave", () => point(null));
    function point(row) {
      byId("judged-frames").classList.toggle("pointing", Boolean(row));
      for (const element of byId("judged-frames").querySelectorAll("[data-role]")) {
        element.classList.toggle("pointed", Boolean(row) && element.dataset.role === row.dataset.role);
      }
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
    let waiting = 0;
    function changed() {
      refresh();
      history.replaceState(null, "", here());
    }
    at("q").addEventListener("input", () => {
      clearTimeout(waiting);
      waiting = setTimeout(changed, 120);
    });
    at("q").addEventListener("keydown", (event) => {
      if (event.key === "ArrowDown" && found.length) {
        event.preventDefault();
        focusCard(0);
      }
    });
    at("filters").addEventListener("change", (event) => { if (event.target !== at("q")) changed(); });
    at("filters").addEventListener("submit", (event) => event.preventDefault());
    at("filters").addEventListener("reset", () => setTimeout(changed));

    // ---- beginning ---------------------------------------------------------------------------------------------------------
    for (const [name, value] of [["subset", (p) => p.subset], ["verb", (p) => p.verb], ["taken", (p) => p.top[0][0]]]) {
      const values = new Map();
      for (const p of said) values.set(value(p), (values.get(value(p)) || 0) + 1);
      for (const [text, times] of [...values].sort()) {
        const option = make("option", "", `${text} (${times})`);
        option.value = text;
        at(name).append(option);
      }
    }
    at("notes").append(...notes.map((note) => make("li", "", note)));
    at("more").open = matchMedia("(min-width: 760px)").matches;
    at("filters").hidden = !said.length;
    return { fromAddress, shut, focusFirst: () => found.length && focusCard(0) };
  })();

  // ---- which half of the page ----------------------------------------------------------------------------------------------
  function route() {
    const terms = new URLSearchParams(location.hash.slice(1));
    view = terms.get("view") === "predictions" ? "predictions" : "store";
    for (const name of ["store", "predictions"]) {
      byId(name === "store" ? "store" : "predictions-view").hidden = view !== name;
      byId(`to-${name}`).setAttribute("aria-current", view === name ? "page" : "false");
    }
    if (view === "predictions") {
      shut();
      predictions.fromAddress(terms);
    } else {
      predictions.shut();
      pushed = false;
      fromAddress();
    }
  }
  addEventListener("popstate", route);
  byId("skip").addEventListener("click", () => (view === "predictions" ? predictions.focusFirst() : found.length && focusCard(0)));
  route();
