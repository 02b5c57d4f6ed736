"use strict";
// Sorts a table by the column whose heading was pressed; what is not known stays at the end.
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  const body = table.tBodies[0];
  const key = (row, place) => row.cells[place].dataset.order;
  heads.forEach((head, place) => {
    head.querySelector("button").addEventListener("click", () => {
      const was = head.getAttribute("aria-sort");
      const first = head.classList.contains("number") ? "descending" : "ascending";
      const second = first === "ascending" ? "descending" : "ascending";
      const order = was === first ? second : first;
      const sign = order === "ascending" ? 1 : -1;
      const compare = (one, other) => {
        const a = key(one, place), b = key(other, place);
        if (a === "" || b === "") return (a === "") - (b === "");
        if (head.classList.contains("number")) return sign * (a - b);
        return sign * a.localeCompare(b, "en", { numeric: true });
      };
      heads.forEach((each) => each.setAttribute("aria-sort", each === head ? order : "none"));
      body.append(...[...body.rows].sort(compare));
    });
  });
}
