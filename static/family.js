// The family tree: nested lists of links that Python has written, drawn by ui/style.css. A click is answered here at
// once and told to Python, which turns the rest of the page; a new tab opens the link's own address.

const wide = matchMedia("(min-width: 641px)");

/** Mark a rule and its way from the root. */
function mark(tree, name) {
  for (const item of tree.querySelectorAll("li")) item.classList.remove("dl-path");
  for (const link of tree.querySelectorAll("a")) {
    const chosen = link.dataset.rule === name;
    if (!chosen) link.removeAttribute("aria-current");
    else link.setAttribute("aria-current", "true");
    for (let item = chosen && link.closest("li"); item; item = item.parentElement.closest("li")) {
      item.classList.add("dl-path");
    }
  }
}

export default function family({ data, parentElement, setTriggerValue }) {
  let root = parentElement.querySelector(".dl-family");
  if (!root) {
    root = document.createElement("nav");
    root.className = "dl-family";
    root.setAttribute("aria-label", "Family tree");
    parentElement.append(root);
  }
  if (root.tree !== data.tree) {
    root.innerHTML = root.tree = data.tree;
    const fold = root.querySelector("details");
    fold.open = wide.matches;
    wide.onchange = () => (fold.open = wide.matches);
  }
  root.onclick = (event) => {
    const link = event.target.closest("a[data-rule]");
    if (!link || event.metaKey || event.ctrlKey || event.shiftKey) return;
    event.preventDefault();
    mark(root, link.dataset.rule);
    setTriggerValue("chosen", link.dataset.rule);
    if (!wide.matches) root.querySelector("details").open = false;
  };
  mark(root, data.selected);
}
