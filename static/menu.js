// The optimizer menu: a line is a name, a tab and what it is found by (ui/menu.py). Streamlit filters by the whole line,
// so that what is typed must take its place: all of it is marked as soon as the box is clicked.

document.addEventListener("click", ({ target }) => {
  if (target instanceof HTMLInputElement && target.value.includes("\t")) target.select();
});
