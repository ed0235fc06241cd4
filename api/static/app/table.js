// Tables that keep their rows: sorted by their heads, brought up to date cell by cell.

import { el, keyed, mark } from "./dom.js";
import { t } from "./words.js";

/**
 * Make a table. A column is {key, head, title?, numeric?, sort?, show(cell, row), first?}:
 * `sort(row)` gives what to sort by, `show` brings a cell up to date. The first column heads rows.
 * Returns {node, update(rows)}.
 */
export function table({ caption, columns, keyOf, sorted = null, empty = t("none"), hidden = true }) {
  let by = sorted;
  let shown = [];
  const body = el("tbody");
  const heads = columns.map((column) => head(column));
  const nothing = el("p", { class: "empty", hidden: true }, empty);
  const inner = el(
    "table",
    {},
    el("caption", { class: hidden ? "unseen" : null }, caption),
    el("thead", {}, el("tr", {}, heads)),
    body,
  );
  const region = el("div", { class: "scroll", role: "group", "aria-label": caption, tabindex: 0 }, inner);

  function head(column) {
    const label = column.sort
      ? el("button", { type: "button", onclick: () => turn(column) }, column.head)
      : column.head;
    return el("th", { scope: "col", class: column.numeric ? "numeric" : null, title: column.title }, label);
  }

  function turn(column) {
    const down = by?.key === column.key ? !by.down : Boolean(column.numeric);
    by = { key: column.key, down };
    update(shown);
  }

  function make() {
    const cells = columns.map((column, index) =>
      index === 0 ? el("th", { scope: "row" }) : el("td", { class: column.numeric ? "numeric" : null }),
    );
    return el("tr", {}, cells);
  }

  function show(row, item) {
    columns.forEach((column, index) => column.show(row.children[index], item, row));
  }

  function ordered(rows) {
    const column = columns.find((each) => each.key === by?.key);
    if (!column) return rows;
    const way = by.down ? -1 : 1;
    return [...rows].sort((one, other) => {
      const [a, b] = [column.sort(one), column.sort(other)];
      if (a === b) return 0;
      if (a === null || a === undefined) return 1;
      if (b === null || b === undefined) return -1;
      return (a < b ? -1 : 1) * way;
    });
  }

  function update(rows) {
    shown = rows;
    columns.forEach((column, index) => {
      if (!column.sort) return;
      const mine = by?.key === column.key;
      mark(heads[index], "aria-sort", mine ? (by.down ? "descending" : "ascending") : "none");
    });
    keyed(body, ordered(rows), keyOf, make, show);
    nothing.hidden = rows.length > 0;
    region.hidden = rows.length === 0;
  }

  update([]);
  return { node: el("div", { class: "table" }, region, nothing), update };
}
