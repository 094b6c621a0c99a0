  // The store's half: what each picture's rationales came to, and all that is known of one picture.
  const store = (() => {
    const { pictures, verbs, notes } = data;

    // ---- what is looked for ------------------------------------------------------------------------------------
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
    function matches(p, wanted) {
      if (wanted.verb && p.verb !== wanted.verb) return false;
      if (wanted.split && p.split !== wanted.split) return false;
      if (wanted.subset && p.subset !== wanted.subset) return false;
      if (wanted.status === "failed") return failed(p);
      if (!wanted.aspect && !wanted.polarity && !wanted.status && !wanted.min && !wanted.max) return true;
      return p.rationales.some((kind) => kindMatches(kind, wanted));
    }
    const half = gallery({
      view: byId("store"), prefix: "", dialog: byId("viewer"), items: pictures, noun: "picture", notes, terms: {},
      filters: ["verb", "split", "subset", "aspect", "polarity", "status", "min", "max", "order"],
      choices: { verb: (p) => p.verb, split: (p) => p.split, subset: (p) => p.subset },
      matches,
      texts: (p) => [
        p.image, p.verb, p.split, p.subset,
        ...p.roles.flatMap((role) => [role.role, ...role.nouns]),
        ...p.rationales.flatMap((kind) => kind.attempts.flatMap((a) => [a.text, a.reason, a.contrast, a.judge])),
        ...p.failures.flatMap((failure) => [failure.stage, failure.reason, failure.raw]),
      ],
      orders: {
        name: (p) => p.image,
        score: (p) => Math.min(9, ...scores(p)),
        attempts: (p) => -attempts(p),
        near: (p) => -Math.max(-2, ...p.near.map((other) => other.similarity)),
      },
      tally: () => "",
      link: (p) => "#" + new URLSearchParams({ image: p.image }), // whatever is searched for
      card: (p, number) => [
        thumb(number), make("span", "verb", p.verb || "no verb"), make("span", "file", p.image), cardMarks(p),
      ],
      display,
    });

    // ---- a card ------------------------------------------------------------------------------------------------
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

    // ---- one picture -------------------------------------------------------------------------------------------
    // A text with the words that were searched for marked.
    function marked(tag, className, text) {
      const element = make(tag, className);
      const found = half.words();
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

    function display(p, number) {
      byId("viewer-title").textContent = p.verb || "no verb";
      const facts = [p.image, p.split, p.subset, p.width ? `${p.width} × ${p.height} pixels` : "not in the data set"];
      byId("viewer-facts").replaceChildren(
        make("span", "", facts.filter(Boolean).join(" · ")),
        ...(verbs[p.verb] ? [make("span", "sentence", verbs[p.verb])] : []),
      );
      byId("frame").replaceChildren(framed(number, alt(p), p));
      byId("roles").replaceChildren(...roles(p));
      byId("near").replaceChildren(...near("Nearest pictures", p.near));
      byId("texts").replaceChildren(...texts(p));
    }
    const nouns = (role) => [...new Set(role.nouns)].map((noun) => noun || "–");
    const alt = (p) => `${p.verb}: ${p.roles.map((role) => `${role.role} ${nouns(role).join(" or ")}`).join(", ")}`;
    function roles(p) {
      if (!p.roles.length) return [];
      const rows = p.roles.map((role) => {
        const box = role.box ? role.box.map((v) => Math.round(v)).join(" ") : "none";
        return [role.role, role.box, [nounCell(role), make("td", "figure", box)]];
      });
      return [roleTable(["role", "noun (of each annotator where they differ)", "box x1 y1 x2 y2"], rows)];
    }
    function nounCell(role) {
      const told = nouns(role);
      if (told.length === 1) return marked("td", "", told[0]);
      // The annotators differ: each one's noun, in their order.
      return make("td", "", ...role.nouns.map((noun, who) =>
        make("span", "annotator", make("small", "", String(who + 1)), marked("span", "", noun || "–"))));
    }
    function near(title, others) {
      if (!others.length) return [];
      const items = others.map((other) => {
        const item = make("li", "");
        const number = half.numberOf.get(other.image);
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
          if (otherwise(event)) return;
          event.preventDefault();
          half.open(number);
        });
        if (!other.kind) link.append(thumb(number));
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
      const part = rationalePart(state, kind, state);
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
        list.open = others.some((a) => half.words().some((word) => (a.text + a.reason).toLowerCase().includes(word)));
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

    // An address can name one rationale of the picture, as those of the predictions do.
    function fromAddress(terms) {
      const kind = half.fromAddress(terms) && terms.get("kind");
      const told = kind && byId("texts").querySelector(`[data-kind="${CSS.escape(kind)}"]`);
      if (told) {
        told.scrollIntoView();
        told.focus({ preventScroll: true });
      }
    }
    return { ...half, fromAddress };
  })();
