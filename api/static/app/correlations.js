// The heat map of how symbols move together: a table, so that it can be read as one.

import { el, keyed, mark, put } from "./dom.js";
import * as format from "./format.js";
import { t } from "./words.js";

const SPELT = 16; // symbols up to which each cell shows its number
const STRONGEST = 6;

function pairs({ symbols, matrix }) {
  const found = [];
  matrix.forEach((row, one) =>
    row.forEach((value, other) => {
      if (other > one && value !== null) found.push({ pair: `${symbols[one]} · ${symbols[other]}`, value });
    }),
  );
  return found.sort((one, other) => Math.abs(other.value) - Math.abs(one.value)).slice(0, STRONGEST);
}

/** Make the map. Returns {node, show(correlation)}. */
export function correlations() {
  const about = el("p", { class: "quiet" });
  const strongest = el("ul", { class: "pairs" });
  const place = el("div", { class: "scroll", role: "group", "aria-label": t("correlation"), tabindex: 0 });
  let known = "";
  let cells = [];

  function build(symbols) {
    known = symbols.join(" ");
    const heads = symbols.map((name) => el("th", { scope: "col" }, el("span", {}, name)));
    const body = symbols.map((name) =>
      el(
        "tr",
        {},
        el("th", { scope: "row" }, name),
        symbols.map(() => el("td")),
      ),
    );
    cells = body.map((row) => [...row.querySelectorAll("td")]);
    const spelt = symbols.length <= SPELT ? "spelt" : "dense";
    place.replaceChildren(
      el(
        "table",
        { class: `heat ${spelt}` },
        el("caption", { class: "unseen" }, t("correlation")),
        el("thead", {}, el("tr", {}, el("td"), heads)),
        el("tbody", {}, body),
      ),
    );
  }

  return {
    node: el("div", {}, about, place, el("h3", {}, t("correlation.strongest")), strongest),
    show(found) {
      if (found.symbols.join(" ") !== known) build(found.symbols);
      put(about, t("correlation.about", { bars: format.count(found.bars) }));
      found.matrix.forEach((row, one) =>
        row.forEach((value, other) => {
          const cell = cells[one][other];
          // The number is there in every cell; where there are many it is seen as colour alone.
          put(cell, format.signed(value, 2));
          mark(cell, "title", `${found.symbols[one]} · ${found.symbols[other]} ${format.signed(value, 2)}`);
          mark(cell, "class", value === null ? null : value >= 0 ? "up" : "down");
          cell.style.setProperty(
            "--strength",
            value === null ? "0%" : `${Math.round(Math.abs(value) * 42)}%`,
          );
        }),
      );
      keyed(
        strongest,
        pairs(found),
        (each) => each.pair,
        (each) => el("li", {}, el("span", {}, each.pair), el("span", { class: "numeric" })),
        (node, each) => {
          put(node.lastChild, format.signed(each.value));
          mark(node.lastChild, "class", `numeric ${format.way(each.value)}`);
        },
      );
    },
  };
}
