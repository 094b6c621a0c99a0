  // The predictions' half: what the student said beside what the annotators said.
  const predictions = (() => {
    const { said, rationales, notes } = JSON.parse(byId("predictions").textContent);

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
    const matches = (p, wanted) => (!wanted.subset || p.subset === wanted.subset)
      && (!wanted.verb || p.verb === wanted.verb)
      && (!wanted.taken || p.top[0][0] === wanted.taken)
      && (!wanted.result || RESULTS[wanted.result](p)) && (!wanted.roles || ROLES[wanted.roles](p));
    const half = gallery({
      view: byId("predictions-view"), prefix: "said-", dialog: byId("judged"), items: said, noun: "prediction", notes,
      terms: { view: "predictions" },
      filters: ["result", "subset", "verb", "taken", "roles", "order"],
      choices: { subset: (p) => p.subset, verb: (p) => p.verb, taken: (p) => p.top[0][0] },
      matches,
      texts: (p) => [
        p.image, p.verb, p.subset, p.top[0][0], ...p.roles.flatMap((role) => [role.role, role.noun, ...role.nouns]),
      ],
      orders: { name: (p) => p.image, sure: (p) => -p.top[0][1], unsure: (p) => p.top[0][1] },
      tally: (found) => (found.length ? `, ${found.filter(right).length.toLocaleString("en")} with the right verb` : ""),
      link: (p) => half.address(p.image),
      card: (p) => [
        thumb(p.thumbnail), make("span", "verb", p.top[0][0]),
        make("span", "file", right(p) ? p.image : `annotated ${p.verb}`), cardMarks(p),
      ],
      display,
    });

    // ---- a card ------------------------------------------------------------------------------------------------
    function cardMarks(p) {
      const state = right(p) ? "accepted" : "rejected";
      const mark = make("span", `mark ${state}`, MARKS[state], make("span", "hidden", right(p) ? " right. " : " wrong. "));
      const tags = make("span", "marks", mark);
      if (p.subset !== "seen") tags.append(make("span", "tag", p.subset));
      const nouns = p.roles.filter((role) => role.right).length, boxes = p.roles.filter((role) => role.grounded).length;
      tags.append(make("span", "cost", `${percent(p.top[0][1])} · nouns ${nouns}/${p.roles.length} · grounded ${boxes}/${p.roles.length}`));
      return tags;
    }

    // ---- one prediction ----------------------------------------------------------------------------------------
    function display(p) {
      const state = right(p) ? "accepted" : "rejected";
      byId("judged-title").replaceChildren(make("span", `mark ${state}`, MARKS[state]), ` ${p.top[0][0]}`);
      const facts = [
        right(p) ? "the annotated verb" : `annotated ${p.verb}, ranked ${(p.rank + 1).toLocaleString("en")}`,
        p.subset, p.image, `${p.width} × ${p.height} pixels`,
      ];
      byId("judged-facts").textContent = facts.join(" · ");
      byId("judged-frames").replaceChildren(beside(p, "predicted", p.roles.map((role) => role.box)),
        beside(p, "annotated", p.roles.map((role) => role.annotated)));
      byId("judged-roles").replaceChildren(roles(p));
      byId("judged-texts").replaceChildren(verbs(p), ...nearest(p));
    }
    function beside(p, name, boxes) {
      const roles = p.roles.map((role, i) => ({ role: role.role, box: boxes[i] }));
      const frame = framed(p.thumbnail, `${p.image}, ${name}`, { width: p.width, height: p.height, roles });
      const without = boxes.every((box) => !box) ? ", no box" : "";
      return make("figure", "", frame, make("figcaption", "quiet", name + without));
    }
    function verdict(good, text) {
      const mark = make("span", good ? "good" : "bad", good ? "✓ " : "✕ ");
      mark.append(make("span", "hidden", good ? "right: " : "wrong: "));
      return make("span", "", mark, text);
    }
    function roles(p) {
      const rows = p.roles.map((role, i) => {
        const boxed = role.box || role.annotated;
        // What the box is worth beside the annotated one; the grounding counts only where the noun is right too.
        const fits = role.box && role.annotated ? overlap(role.box, role.annotated) : null;
        const box = fits === null ? (boxed ? verdict(false, role.box ? "none there" : "not found") : verdict(true, "none"))
          : verdict(fits >= 0.5, percent(fits));
        const nouns = [...new Set(role.nouns.map(told))].join(" / ");
        const cells = [verdict(role.right, told(role.noun)), nouns, box].map((cell) => make("td", "", cell));
        return [role.role, boxed, cells];
      });
      return make("div", "", roleTable(["role", "predicted", "annotated", "box overlap"], rows),
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
      const part = rationalePart(state, r, similarity.toFixed(3));
      part.append(make("p", "text", r.text));
      if (r.contrast) part.append(make("p", "contrast", make("small", "", "contrast "), r.contrast));
      if (r.reason) part.append(make("p", "reason", make("small", "", "because "), r.reason));
      const facts = [r.status, `attempt ${r.attempt}`, r.score === null ? null : `${r.score} of 5 points`, `by ${r.judge}`];
      part.append(make("p", "quiet", facts.filter(Boolean).join(" · ")));
      const whose = `${r.verb}, ${r.image}`;
      if (store.numberOf.has(r.image)) {
        const link = make("a", "", whose);
        link.href = "#" + new URLSearchParams({ image: r.image, kind: `${r.polarity}-${r.aspect}` });
        part.append(make("p", "", "of ", link));
      } else part.append(make("p", "quiet", `of ${whose} (not on this page)`));
      return part;
    }

    return half;
  })();
