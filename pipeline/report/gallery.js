  // A gallery of cards: searched, filtered, sorted and gone through with keys. A card opens a dialog, and the address
  // tells what is looked at, so that the page can be sent as it is. Each half of the page is one:
  //
  //   view     holds the gallery; hidden while the other half is shown
  //   prefix   of the ids of its parts: q, filters, cards, count, nothing, active, sentinel, more, notes
  //   dialog   shows one item; its parts are found by their classes
  //   items    what there is, each with its `image`, which names it in addresses
  //   noun     what one item is called
  //   notes    what the gallery does without, and why
  //   terms    with which every address of it begins
  //   filters  names of its selects; the prefix before one is its id
  //   choices  of the selects that are filled from the items: (item) => its value
  //   matches  (item, wanted) => whether it has what the selects ask for; wanted: their values by name
  //   texts    (item) => the texts in which words are searched
  //   orders   by value of the select "order": (item) => its rank; with any other value the items stay as they are
  //   tally    (items found) => what the count adds about them
  //   link     (item) => the address of its card
  //   card     (item, number) => the children of its card
  //   display  (item, number) fills the dialog
  function gallery({
    view, prefix, dialog, items, noun, notes, terms, filters, choices, matches, texts, orders, tally, link, card, display,
  }) {
    const at = (name) => byId(prefix + name);
    const inside = (selector) => dialog.querySelector(selector);
    const cards = at("cards");
    const PAGE = 48; // cards added at a time
    const numberOf = new Map(items.map((item, number) => [item.image, number]));
    let found = []; // numbers of the items that match, in order
    let shown = 0; // how many of them have a card
    let current = null; // number of the item in the dialog
    let pushed = false; // whether "back" closes it
    let applied = null; // the filters that the cards show

    // ---- what is looked for ------------------------------------------------------------------------------------
    const words = () => at("q").value.toLowerCase().split(/\s+/).filter(Boolean);
    const searchable = new Array(items.length);
    function allText(number) {
      searchable[number] ??= texts(items[number]).join("\n").toLowerCase();
      return searchable[number];
    }
    function refresh() {
      const wanted = Object.fromEntries(filters.map((name) => [name, at(name).value]));
      const sought = words();
      found = items.map((_, number) => number).filter((number) => matches(items[number], wanted)
        && sought.every((word) => allText(number).includes(word)));
      const rank = orders[wanted.order];
      if (rank) {
        const ranks = new Map(found.map((number) => [number, rank(items[number])]));
        found.sort((a, b) => (ranks.get(a) > ranks.get(b)) - (ranks.get(a) < ranks.get(b)) || a - b);
      }
      applied = filterTerms().toString();
      cards.replaceChildren();
      shown = 0;
      more(PAGE);
      watch();
      const all = count(items.length, noun);
      at("count").textContent = (found.length < items.length ? `${found.length.toLocaleString("en")} of ${all}` : all)
        + tally(found.map((number) => items[number]));
      at("nothing").hidden = found.length > 0 || !items.length;
      const active = filters.filter((name) => wanted[name]).length;
      at("active").textContent = active ? `(${active})` : "";
    }

    // ---- the cards ---------------------------------------------------------------------------------------------
    function more(least) {
      const until = Math.min(found.length, Math.max(shown + PAGE, least));
      cards.append(...found.slice(shown, until).map((number, i) => cardOf(number, shown + i)));
      shown = until;
    }
    function cardOf(number, place) {
      const pick = make("a", "pick", ...card(items[number], number));
      pick.href = link(items[number]);
      pick.dataset.number = number;
      pick.tabIndex = place === 0 ? 0 : -1; // one stop for Tab; the arrows go on from there
      return make("li", "", pick);
    }
    const observer = new IntersectionObserver((entries) => {
      if (!entries.some((entry) => entry.isIntersecting) || shown >= found.length) return;
      more(0);
      watch();
    }, { rootMargin: "1200px" });
    // Observed anew after every change: an end that stays in sight is told of only once.
    function watch() {
      observer.unobserve(at("sentinel"));
      observer.observe(at("sentinel"));
    }
    function focusCard(place) {
      if (place >= shown) more(place + PAGE);
      for (const pick of cards.querySelectorAll('[tabindex="0"]')) pick.tabIndex = -1;
      const pick = cards.children[place].firstElementChild;
      pick.tabIndex = 0;
      pick.focus();
    }
    function focusFirst() {
      if (found.length) focusCard(0);
    }
    // Arrow keys: the grid's columns are counted from where the cards lie.
    function move(from, key) {
      const all = cards.children;
      let columns = 1;
      while (columns < all.length && all[columns].offsetTop === all[0].offsetTop) columns += 1;
      const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns };
      const ends = { Home: 0, End: found.length - 1 };
      const to = key in ends ? ends[key] : [...all].indexOf(from.parentElement) + steps[key];
      if (to < 0 && key === "ArrowUp") at("q").focus();
      else if (to >= 0 && to < found.length) focusCard(to);
    }
    cards.addEventListener("keydown", (event) => {
      const keys = ["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", "Home", "End"];
      if (!keys.includes(event.key) || event.altKey || event.ctrlKey || event.metaKey) return;
      event.preventDefault();
      move(event.target.closest(".pick"), event.key);
    });
    cards.addEventListener("click", (event) => {
      const pick = event.target.closest(".pick");
      if (!pick || otherwise(event)) return;
      event.preventDefault();
      open(Number(pick.dataset.number));
    });

    // ---- the address: filters and the open item ----------------------------------------------------------------
    function filterTerms() {
      const told = new URLSearchParams(terms);
      if (at("q").value.trim()) told.set("q", at("q").value.trim());
      for (const name of filters) if (at(name).value) told.set(name, at(name).value);
      return told;
    }
    function address(image) {
      const told = filterTerms();
      if (image) told.set("image", image);
      return `#${told}`;
    }
    const here = () => address(current === null ? null : items[current].image);
    // Shows what an address tells of; whether that opens an item.
    function fromAddress(given) {
      pushed = false;
      at("q").value = given.get("q") || "";
      for (const name of filters) {
        at(name).value = given.get(name) || "";
        if (at(name).selectedIndex < 0) at(name).value = "";
      }
      if (applied !== filterTerms().toString()) refresh();
      const number = numberOf.get(given.get("image"));
      if (number === undefined) shut();
      else show(number);
      return number !== undefined;
    }

    // ---- the dialog --------------------------------------------------------------------------------------------
    function open(number) {
      const first = current === null;
      show(number);
      if (first) {
        history.pushState(null, "", here());
        pushed = true;
      } else history.replaceState(null, "", here());
    }
    function show(number) {
      current = number;
      display(items[number], number);
      bare();
      const place = found.indexOf(number);
      inside(".place").textContent = place < 0 ? "not among those found" : `${place + 1} of ${found.length}`;
      inside(".previous").disabled = place <= 0;
      inside(".next").disabled = place < 0 || place === found.length - 1;
      if (!dialog.open) dialog.showModal();
      // On a narrow screen the whole body scrolls, on a wide one its two columns do.
      for (const part of dialog.querySelectorAll(".viewer-body, .look, .texts")) part.scrollTop = 0;
      inside(".viewer-title").focus({ preventScroll: true });
    }
    function shut() {
      if (dialog.open) dialog.close();
    }
    function step(by) {
      const place = found.indexOf(current) + by;
      if (found.includes(current) && place >= 0 && place < found.length) open(found[place]);
    }
    function bare() {
      inside(".frames").classList.toggle("bare", !inside(".toggle input").checked);
    }
    // The boxes of the role whose row is pointed at stand out; of null, all do.
    function point(row) {
      inside(".frames").classList.toggle("pointing", Boolean(row));
      for (const element of inside(".frames").querySelectorAll("[data-role]")) {
        element.classList.toggle("pointed", Boolean(row) && element.dataset.role === row.dataset.role);
      }
    }
    dialog.addEventListener("close", () => {
      const place = found.indexOf(current);
      current = null;
      if (view.hidden) return; // the other half is shown already, with its own address
      if (pushed) {
        pushed = false;
        history.back();
      } else history.replaceState(null, "", here());
      if (place >= 0) focusCard(place);
    });
    dialog.addEventListener("click", (event) => { if (event.target === dialog) shut(); });
    dialog.addEventListener("keydown", (event) => {
      if (event.altKey || event.ctrlKey || event.metaKey) return;
      if (event.key === "ArrowLeft") step(-1);
      else if (event.key === "ArrowRight") step(1);
      else if (event.key === "b") inside(".toggle input").click();
      else return;
      event.preventDefault();
    });
    inside(".close").addEventListener("click", shut);
    inside(".previous").addEventListener("click", () => step(-1));
    inside(".next").addEventListener("click", () => step(1));
    inside(".toggle input").addEventListener("change", bare);
    dialog.addEventListener("pointerover", (event) => point(event.target.closest("tr[data-role]")));
    dialog.addEventListener("pointerleave", () => point(null));

    // ---- search and filters ------------------------------------------------------------------------------------
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
      if (event.key !== "ArrowDown" || !found.length) return;
      event.preventDefault();
      focusCard(0);
    });
    at("filters").addEventListener("change", (event) => { if (event.target !== at("q")) changed(); });
    at("filters").addEventListener("submit", (event) => event.preventDefault());
    at("filters").addEventListener("reset", () => setTimeout(changed));
    function focusSearch() {
      at("q").focus();
      at("q").select();
    }

    // ---- beginning ---------------------------------------------------------------------------------------------
    for (const [name, valueOf] of Object.entries(choices)) {
      const times = new Map();
      for (const value of items.map(valueOf)) if (value) times.set(value, (times.get(value) || 0) + 1);
      for (const [value, number] of [...times].sort()) {
        const option = make("option", "", `${value} (${number})`);
        option.value = value;
        at(name).append(option);
      }
    }
    at("notes").append(...notes.map((note) => make("li", "", note)));
    at("filters").hidden = !items.length;
    at("more").open = matchMedia("(min-width: 760px)").matches;
    return { view, numberOf, words, address, open, shut, fromAddress, focusFirst, focusSearch };
  }
