// What a page asks for again and again, while it is looked at and the link stands.

import { link } from "./link.js";
import { Problem } from "./server.js";

/**
 * Call `load` now, then every `seconds`, and as soon as the link is back; end with `signal`.
 * A failure is told to `failed` as a Problem, null once it is over.
 */
export function refresh(load, seconds, signal, failed = () => {}) {
  let asking = false;
  const again = async () => {
    if (asking || signal.aborted) return;
    asking = true;
    try {
      await load();
      if (!signal.aborted) failed(null);
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      if (!signal.aborted) failed(error);
    } finally {
      asking = false;
    }
  };
  const timer = setInterval(() => {
    if (link.state !== "down" && !document.hidden) again();
  }, seconds * 1000);
  signal.addEventListener("abort", () => clearInterval(timer));
  link.addEventListener("state", () => link.state === "up" && again(), { signal });
  link.addEventListener("reset", again, { signal });
  again();
  return again;
}
