// Charts over time, by Lightweight Charts, in our colours, language and zone.

import { el, mark } from "./dom.js";
import * as format from "./format.js";
import { colour } from "./theme.js";
import { locale } from "./words.js";

const NS = 1e9;
const library = () => globalThis.LightweightCharts;

/** A time of ours, ns, as the library counts: seconds. */
export const at = (ns) => Math.round(ns / NS);

/** The colours that charts draw with, as they are now. */
export function palette() {
  const names = ["up", "down", "accent", "muted", "line", "panel", "text", "warn", "violet"];
  return Object.fromEntries(names.map((name) => [name, colour(name)]));
}

/** The same colour, seen through. */
export function faint(rgb, opacity) {
  const parts = rgb.match(/[\d.]+/g).slice(0, 3);
  return `rgba(${parts.join(", ")}, ${opacity})`;
}

/**
 * Make a chart in a frame of its own. `label` says to those who do not see it what it shows;
 * `number` formats its values. Removed when `signal` aborts.
 */
export function chart({ label, name, number = (value) => format.price(value), signal, axis = true }) {
  const box = el("div", { class: `chart ${name}`, role: "img", "aria-label": label });
  const colours = palette();
  const made = library().createChart(box, {
    autoSize: true,
    layout: {
      background: { type: "solid", color: colours.panel },
      textColor: colours.muted,
      fontSize: 11,
      fontFamily: getComputedStyle(document.body).fontFamily,
    },
    grid: { vertLines: { color: faint(colours.line, 0.6) }, horzLines: { color: faint(colours.line, 0.6) } },
    crosshair: { mode: 0 },
    rightPriceScale: { borderColor: colours.line, minimumWidth: 84 },
    timeScale: {
      borderColor: colours.line,
      timeVisible: true,
      secondsVisible: true,
      visible: axis,
      tickMarkFormatter: (time) => format.time(time * NS),
      rightOffset: 3,
    },
    localization: {
      locale: locale(),
      priceFormatter: number,
      timeFormatter: (time) => format.stamp(time * NS),
    },
    handleScroll: { mouseWheel: false, vertTouchDrag: false },
  });
  signal.addEventListener("abort", () => made.remove());
  return { box, chart: made, colours, describe: (text) => mark(box, "aria-label", text) };
}

/** Pair times and values as the library's points; where there is no value there is a hole. */
export function points(times, values) {
  return times.map((time, index) => {
    const value = values[index];
    return value === null || value === undefined ? { time } : { time, value };
  });
}

/** Let two charts show the same stretch of time. */
export function together(one, other) {
  let busy = false;
  const follow = (from, to) =>
    from.timeScale().subscribeVisibleLogicalRangeChange((range) => {
      if (busy || !range) return;
      busy = true;
      to.timeScale().setVisibleLogicalRange(range);
      busy = false;
    });
  follow(one, other);
  follow(other, one);
}
