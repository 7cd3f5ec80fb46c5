// What components share: making elements, reading arrays, writing numbers.

function element(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(props)) {
    if (key in node) node[key] = value;
    else node.setAttribute(key, value);
  }
  node.append(...children);
  return node;
}

function vector(tag, props) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [key, value] of Object.entries(props)) node.setAttribute(key, value);
  return node;
}

const bytes = (base64) => Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
const floats = (base64) => new Float32Array(bytes(base64).buffer);
const clamp = (x, high) => Math.min(high, Math.max(0, x));

// Three significant digits, as `analysis.numerals` writes them.
function number(x) {
  if (!Number.isFinite(x)) return "–";
  if (x === 0) return "0";
  const [mantissa, power] = Math.abs(x).toExponential(2).split("e");
  const text = power < -4 ? `${mantissa}e−${-power}` : (+`${mantissa}e${power}`).toFixed(Math.max(0, 2 - power));
  return x < 0 ? `−${text}` : text;
}
const signed = (x) => (x > 0 ? "+" : "") + number(x);
