"use strict";
// A click on a column's head sorts its table: numbers as numbers, texts last; a second click reverses the order.
document.addEventListener("click", (event) => {
  const head = event.target.closest("thead th");
  if (!head || !event.target.closest("button")) return;
  const heads = [...head.parentElement.children], at = heads.indexOf(head);
  const down = head.getAttribute("aria-sort") === "ascending";
  const body = head.closest("table").tBodies[0];
  const value = (row) => {
    const cell = row.children[at];
    return "value" in cell.dataset ? Number(cell.dataset.value) : cell.textContent.trim();
  };
  const compare = (one, other) => {
    if (typeof one === typeof other) {
      const order = typeof one === "number" ? one - other : one.localeCompare(other, "en", { numeric: true });
      return down ? -order : order;
    }
    return typeof one === "number" ? -1 : 1;
  };
  const rows = [...body.rows].map((row) => [value(row), row]);
  rows.sort(([one], [other]) => compare(one, other));
  body.append(...rows.map(([, row]) => row));
  for (const other of heads) other.setAttribute("aria-sort", "none");
  head.setAttribute("aria-sort", down ? "descending" : "ascending");
});
