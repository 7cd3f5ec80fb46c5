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
const number = (x) => (Math.abs(x) < 5e-4 ? "0" : (x < 0 ? "−" : "") + String(+Math.abs(x).toPrecision(2)));
