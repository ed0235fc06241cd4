// Numbers and times in the chosen language; times in the browser's zone, which is always named.

import { locale } from "./words.js";

export const NONE = "–";
const NS_PER_MS = 1e6;
const made = new Map();

function formatter(Kind, options) {
  const key = `${Kind.name} ${locale()} ${JSON.stringify(options)}`;
  if (!made.has(key)) made.set(key, new Kind(locale(), options));
  return made.get(key);
}

const missing = (value) => value === null || value === undefined || Number.isNaN(value);

/** A number with so many decimal places; "–" where there is none. */
export function number(value, digits = 2) {
  if (missing(value)) return NONE;
  const options = { minimumFractionDigits: digits, maximumFractionDigits: digits };
  return formatter(Intl.NumberFormat, options).format(value);
}

/** The same with its sign: colour is never the only one to tell. */
export function signed(value, digits = 2) {
  if (missing(value)) return NONE;
  const options = {
    minimumFractionDigits: digits,
    maximumFractionDigits: digits,
    signDisplay: "exceptZero",
  };
  return formatter(Intl.NumberFormat, options).format(value);
}

/** A share as per cent. */
export function percent(value, digits = 1, sign = "auto") {
  if (missing(value)) return NONE;
  const options = {
    style: "percent",
    minimumFractionDigits: digits,
    maximumFractionDigits: digits,
    signDisplay: sign,
  };
  return formatter(Intl.NumberFormat, options).format(value);
}

/** A price, with as many places as its size asks for. */
export function price(value) {
  if (missing(value)) return NONE;
  const size = Math.abs(value);
  return number(value, size >= 1 ? 2 : size >= 0.01 ? 4 : 8);
}

/** A count, or a large number in short. */
export function count(value) {
  if (missing(value)) return NONE;
  const options = value >= 1e6 ? { notation: "compact", maximumFractionDigits: 1 } : {};
  return formatter(Intl.NumberFormat, { maximumFractionDigits: 0, ...options }).format(value);
}

const CLOCK = { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" };
const DAY = { year: "numeric", month: "short", day: "numeric" };

const date = (ns) => new Date(ns / NS_PER_MS);

/** The time of day, without its zone: for columns whose head names it. */
export const time = (ns) => (missing(ns) ? NONE : formatter(Intl.DateTimeFormat, CLOCK).format(date(ns)));

/** Day and time with the zone. */
export function stamp(ns) {
  if (missing(ns)) return NONE;
  return formatter(Intl.DateTimeFormat, { ...DAY, ...CLOCK, timeZoneName: "short" }).format(date(ns));
}

/** Time of day with the zone. */
export function clock(ns) {
  if (missing(ns)) return NONE;
  return formatter(Intl.DateTimeFormat, { ...CLOCK, timeZoneName: "short" }).format(date(ns));
}

/** The name of the zone that times are in. */
export function zone() {
  const parts = formatter(Intl.DateTimeFormat, { timeZoneName: "short" }).formatToParts(new Date());
  return parts.find((part) => part.type === "timeZoneName")?.value ?? "UTC";
}

/** Seconds in short. */
export const seconds = (value) => lasting(value, "second", Math.abs(value) < 10 ? 1 : 0);

/** A number of minutes, hours or days. */
export function lasting(value, unit, digits = 0) {
  if (missing(value)) return NONE;
  const options = { style: "unit", unit, unitDisplay: "short", maximumFractionDigits: digits };
  return formatter(Intl.NumberFormat, options).format(value);
}

/** Which way a number goes, as a class. */
export const way = (value) => (missing(value) || value === 0 ? "" : value > 0 ? "up" : "down");

/** Which way a number goes as it is written: what shows no sign, such as 0.00, has no colour. */
export const wayOf = (text) => (/^[+＋]/.test(text) ? "up" : /^[-−－]\S/.test(text) ? "down" : "");
