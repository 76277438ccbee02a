// Sorts and filters the tables of class "sortable", and shows a figure's footnote where the pointer is. Without it the page has
// the same content. The page's content security policy has its hash.
"use strict";

function valueOf(row, column) {
  const cell = row.cells[column];
  if (!cell || cell.hasAttribute("colspan")) return null; // a format that failed
  if (column === 0) return cell.textContent.trim();
  return cell.dataset.s === undefined ? null : Number(cell.dataset.s);
}

function compare(a, b) {
  if (a === null || b === null) return 0;
  return typeof a === "string" ? a.localeCompare(b) : a - b;
}

function sort(table, head, column) {
  const descending = head.getAttribute("aria-sort") === "ascending";
  for (const other of table.tHead.rows[table.tHead.rows.length - 1].cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", descending ? "descending" : "ascending");
  const rows = Array.from(table.tBodies[0].rows, (row, n) => ({ row, n, value: valueOf(row, column) }));
  rows.sort((a, b) => {
    const missing = (a.value === null) - (b.value === null); // at the end in both directions
    return missing || (descending ? -1 : 1) * compare(a.value, b.value) || a.n - b.n;
  });
  table.tBodies[0].append(...rows.map((one) => one.row));
}

function makeSortable(table) {
  const heads = table.tHead.rows[table.tHead.rows.length - 1].cells;
  const rows = Array.from(table.tBodies[0].rows);
  Array.from(heads).forEach((head, column) => {
    if (!rows.some((row) => valueOf(row, column) !== null)) return;
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    button.addEventListener("click", () => sort(table, head, column));
    head.append(button);
  });
}

function makeFilter(table) {
  const rows = Array.from(table.tBodies[0].rows);
  const label = document.createElement("label");
  const input = document.createElement("input");
  const count = document.createElement("output");
  input.type = "search";
  label.className = "filter";
  label.append("Filter ", input, " ", count);
  input.addEventListener("input", () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const row of rows) row.hidden = !words.every((word) => row.textContent.toLowerCase().includes(word));
    const left = rows.filter((row) => !row.hidden).length;
    count.textContent = left === rows.length ? "" : left + " of " + rows.length;
  });
  table.parentElement.before(label);
}

function showFootnote(mark) {
  const region = mark.closest(".table");
  const after = region && region.nextElementSibling;
  const list = after && (after.matches("ol.notes") ? after : after.querySelector(":scope > ol.notes"));
  const note = list && list.children[Number(mark.textContent) - 1];
  if (note) mark.closest("td, th").title = note.textContent;
}

for (const table of document.querySelectorAll("table.sortable")) {
  makeSortable(table);
  if (table.tBodies[0].rows.length > 5) makeFilter(table);
}
for (const mark of document.querySelectorAll("tbody sup")) showFootnote(mark);
