// Which page an address stands for: "#/symbol/BTCUSDT" is ["symbol", "BTCUSDT"].

/** Take an address apart. */
export function route(hash = location.hash) {
  const parts = hash.replace(/^#\/?/, "").split("/").filter(Boolean);
  return parts.map((part) => {
    try {
      return decodeURIComponent(part);
    } catch {
      return part;
    }
  });
}

/** The address of a page. */
export const address = (...parts) => `#/${parts.map(encodeURIComponent).join("/")}`;
