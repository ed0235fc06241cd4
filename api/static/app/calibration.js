// How often it went up, over how likely the forecast held that: on the diagonal it was right.

import { svg } from "./dom.js";
import * as format from "./format.js";
import { t } from "./words.js";

const SIZE = 240;
const EDGE = 34;
const REST = 16; // for half of a label at the far ends
const x = (share) => EDGE + share * (SIZE - EDGE - REST);
const y = (share) => SIZE - EDGE - share * (SIZE - EDGE - REST);

/** Draw the diagram of an accuracy's calibration. */
export function calibration(ranges) {
  const seen = ranges.filter((range) => range.n > 0);
  const most = Math.max(...seen.map((range) => range.n), 1);
  const marks = [0, 0.25, 0.5, 0.75, 1];
  const label = seen
    .map((range) =>
      t("calibration.point", {
        forecast: format.percent(range.forecast, 0),
        realised: format.percent(range.realised, 0),
        n: range.n,
      }),
    )
    .join("; ");
  return svg(
    "svg",
    {
      class: "calibration",
      viewBox: `0 0 ${SIZE} ${SIZE}`,
      role: "img",
      "aria-label": `${t("calibration")}: ${label}`,
    },
    marks.map((each) =>
      svg(
        "g",
        {},
        svg("line", { class: "grid", x1: x(each), x2: x(each), y1: y(0), y2: y(1) }),
        svg("line", { class: "grid", x1: x(0), x2: x(1), y1: y(each), y2: y(each) }),
        svg("text", { x: x(each), y: y(0) + 14, "text-anchor": "middle" }, format.percent(each, 0)),
        svg("text", { x: x(0) - 5, y: y(each) + 3, "text-anchor": "end" }, format.percent(each, 0)),
      ),
    ),
    svg("line", { class: "right", x1: x(0), y1: y(0), x2: x(1), y2: y(1) }),
    svg("text", { x: x(0.5), y: SIZE - 4, "text-anchor": "middle" }, t("calibration.x")),
    seen.map((range) =>
      svg("circle", {
        class: "point",
        cx: x(range.forecast),
        cy: y(range.realised),
        r: 2.5 + 6 * Math.sqrt(range.n / most),
      }),
    ),
  );
}
