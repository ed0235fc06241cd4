// The record of operators' orders.

import * as cells from "./cells.js";
import { el } from "./dom.js";
import * as format from "./format.js";
import { refresh } from "./refresh.js";
import { get } from "./server.js";
import { table } from "./table.js";
import { code, t } from "./words.js";

function what(order) {
  const about = [
    order.symbol,
    order.limit &&
      `${code(order.limit)}: ${order.value === null ? t("limit.configured") : format.percent(order.value, 2)}`,
  ];
  return [t(`order.kind.${order.kind}`), ...about.filter(Boolean)].join(" ");
}

/** Make the list; it asks by itself. Returns {node}. */
export function orders(signal) {
  const made = table({
    caption: t("orders"),
    keyOf: (order) => order.id,
    empty: t("orders.none"),
    columns: [
      {
        key: "time",
        head: t("time_in", { zone: format.zone() }),
        show: cells.moment((order) => order.posted_at),
      },
      { key: "what", head: t("order"), show: cells.text(what) },
      { key: "who", head: t("order.actor"), show: cells.text((order) => order.actor) },
      { key: "why", head: t("order.reason"), show: cells.text((order) => order.reason) },
      { key: "state", head: t("state"), show: cells.text((order) => t(`order.${order.state}`)) },
    ],
  });
  refresh(async () => made.update((await get("/control/orders", { limit: 50 })).orders), 2, signal);
  return { node: el("div", {}, made.node) };
}
