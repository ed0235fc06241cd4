// Each limit with what is used of it, its head-room, and the order that moves it.

import * as cells from "./cells.js";
import { limitDialog } from "./dialogs.js";
import { el, mark } from "./dom.js";
import * as format from "./format.js";
import { may } from "./server.js";
import { table } from "./table.js";
import { code, t } from "./words.js";

/** A limit is a share of equity; value at risk needs more places. */
const share = (limit, value) => format.percent(value, limit.name === "var_limit" ? 3 : 1);

function change(cell, limit) {
  cell.limit = limit;
  cell.button ??= cell.appendChild(
    el(
      "button",
      { type: "button", onclick: () => limitDialog(cell.limit, code(cell.limit.name)) },
      t("limit.button"),
    ),
  );
  cell.button.disabled = !may("admin") || !limit.adjustable;
  mark(cell.button, "aria-label", t("limit.button.of", { name: code(limit.name) }));
  mark(cell.button, "title", may("admin") ? null : t("needs_scope", { scope: "admin" }));
}

/** Make the table. Returns {node, show(limits)}. */
export function limits() {
  const columns = [
    { key: "name", head: t("limit"), show: cells.text((limit) => code(limit.name)) },
    {
      key: "used",
      head: t("limit.used"),
      numeric: true,
      show: cells.text((limit) => share(limit, limit.used)),
    },
    {
      key: "value",
      head: t("limit.value"),
      numeric: true,
      show: cells.text((limit) => share(limit, limit.value)),
    },
    {
      key: "most",
      head: t("limit.most"),
      numeric: true,
      show: cells.text((limit) => share(limit, limit.most)),
    },
    {
      key: "room",
      head: t("limit.headroom"),
      numeric: true,
      show: (cell, limit) =>
        cells.meter(
          cell,
          limit.headroom === null ? 0 : 1 - limit.headroom,
          format.percent(limit.headroom, 0),
        ),
    },
    { key: "do", head: t("change_it"), show: change },
  ];
  const made = table({
    caption: t("limits"),
    columns,
    keyOf: (limit) => limit.name,
    empty: t("limits.none"),
  });
  return { node: made.node, show: made.update };
}
