  // Which half of the page is shown, and what works in both. The address tells the half; "back" leads to the other.
  const halves = { store, predictions };
  let shown = store;
  function route() {
    const terms = new URLSearchParams(location.hash.slice(1));
    shown = terms.get("view") === "predictions" ? predictions : store;
    for (const [name, half] of Object.entries(halves)) {
      half.view.hidden = half !== shown;
      byId(`to-${name}`).setAttribute("aria-current", half === shown ? "page" : "false");
    }
    (shown === store ? predictions : store).shut();
    shown.fromAddress(terms);
  }
  addEventListener("popstate", route);
  addEventListener("keydown", (event) => {
    const typing = event.target.matches("input, select, textarea");
    if (event.key !== "/" || typing || document.querySelector("dialog[open]") || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    shown.focusSearch();
  });
  byId("skip").addEventListener("click", () => shown.focusFirst());
  history.scrollRestoration = "manual"; // "back" closes a picture, and must not scroll away from its card
  route();
