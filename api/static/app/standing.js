// Whether what is shown can be trusted: in a sentence that changes only when that does.

import * as format from "./format.js";
import { t } from "./words.js";

const STALE = 3; // intervals, and at least as many seconds, without a bar of a run that goes on
const NS_PER_MS = 1e6;

const moment = (ms) => format.clock(ms * NS_PER_MS);

/** Say how the link and the engine do: {level: "good" | "idle" | "bad", text}. */
export function standing(link, market) {
  if (link.state === "down") return { level: "bad", text: t("link.down", { time: moment(link.since) }) };
  if (link.state !== "up" || !market.status) return { level: "idle", text: t("link.connecting") };
  const parts = new Map(market.status.components.map((part) => [part.name, part]));
  if (parts.get("store")?.state === "down") return { level: "bad", text: t("store.down") };
  const flow = parts.get("flow")?.state;
  if (flow === "down") return { level: "bad", text: t("flow.down") };
  if (flow === "stopped") return { level: "idle", text: t("flow.stopped") };
  const allowed = STALE * Math.max((market.run?.interval ?? 1e9) / NS_PER_MS, 1000);
  const heard = Math.max(link.frameAt, link.since);
  if (Date.now() - heard > allowed) return { level: "bad", text: t("stale", { time: moment(heard) }) };
  const cut = [...parts.values()].filter((part) => ["cut", "down"].includes(part.state));
  const names = cut.filter((part) => part.name.startsWith("feed ")).map((part) => part.name.slice(5));
  if (names.length) return { level: "bad", text: t("feeds.cut", { names: names.join(", ") }) };
  return { level: "good", text: t("live") };
}
