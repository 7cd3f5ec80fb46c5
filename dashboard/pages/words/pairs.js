// Words against patches as a matrix: patches of the region first. Moving over it marks the patch in every map of the page, and
// the other way round; a click or Enter chooses the patch.

const SHADE = 0.92;

export default function ({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector(".pairs");
  const pairs = (root.pairs ??= new Pairs(root));
  pairs.send = (event) => setTriggerValue("event", event);
  pairs.show(data);
}

class Pairs {
  constructor(root) {
    this.root = root;
    this.at = null;
    this.canvas = element("canvas", { tabIndex: 0 });
    this.canvas.setAttribute("role", "img");
    this.labels = element("div", { className: "labels" });
    this.column = element("div", { className: "column" });
    this.chosen = element("div", { className: "column chosen" });
    this.edge = element("div", { className: "edge" });
    this.line = element("div", { className: "line" });
    this.reading = element("div", { className: "reading" });
    const body = element("div", { className: "body" }, this.canvas, this.edge, this.line, this.chosen, this.column);
    root.replaceChildren(this.title = element("h2"), element("div", { className: "grid" }, this.labels, body), this.reading);
    body.onpointermove = (event) => this.move(event);
    body.onpointerleave = () => tellPatch(this.root, null, this.data.grid);
    body.onclick = () => this.at && this.send({ type: "patch", row: this.at.patch[0], column: this.at.patch[1] });
    this.canvas.onkeydown = (event) => this.key(event);
    followPatch(root, (patch) => this.mark(patch), () => this.data.grid);
  }

  show(data) {
    this.data = data;
    this.values = floats(data.values);
    this.title.textContent = data.title;
    this.labels.replaceChildren(...data.units.map((unit, index) => element("span", { className: index === data.chosen ? "chosen" : "" }, unit)));
    this.root.style.setProperty("--rows", data.units.length);
    this.canvas.setAttribute("aria-label", `${data.title}. Arrow keys move over the patches, Enter chooses one.`);
    this.paint();
    this.edge.style.display = data.first ? "block" : "none";
    this.edge.style.left = `${(100 * data.first) / data.order.length}%`;
    Object.assign(this.line.style, { top: `${(100 * data.chosen) / data.units.length}%`, height: `${100 / data.units.length}%` });
    this.place(this.chosen, data.patch);
    this.mark(null);
  }

  paint() {
    const { units, order, limit, colours } = this.data;
    const [width, height] = [order.length, units.length];
    Object.assign(this.canvas, { width, height });
    const context = this.canvas.getContext("2d");
    const pixels = context.createImageData(width, height);
    const hues = [colours.positive, colours.negative].map((text) => text.split(",").map(Number));
    this.values.forEach((value, at) => {
      if (!Number.isFinite(value)) return;
      pixels.data.set([...hues[value < 0 ? 1 : 0], 255 * SHADE * Math.min(1, Math.abs(value) / limit)], 4 * at);
    });
    context.putImageData(pixels, 0, 0);
  }

  move(event) {
    const box = this.canvas.getBoundingClientRect();
    const column = Math.floor(clamp((event.clientX - box.left) / box.width, 0.99999) * this.data.order.length);
    this.word = Math.floor(clamp((event.clientY - box.top) / box.height, 0.99999) * this.data.units.length);
    this.point(column);
  }

  point(column) {
    const cell = this.data.order[column];
    tellPatch(this.root, [Math.floor(cell / this.data.grid[1]), cell % this.data.grid[1]], this.data.grid);
  }

  key(event) {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (step) this.point(Math.max(0, clamp((this.at?.index ?? -step) + step, this.data.order.length - 1)));
    else if (event.key === "Enter" && this.at) this.send({ type: "patch", row: this.at.patch[0], column: this.at.patch[1] });
    else return;
    event.preventDefault();
  }

  mark(patch) {
    this.at = this.place(this.column, patch);
    const { units, chosen, order, limit, unit, hint } = this.data;
    if (!this.at) {
      this.reading.textContent = `${unit}, −${number(limit)} to ${number(limit)}. ${hint}`;
      return;
    }
    const word = this.word ?? chosen;
    const value = this.values[word * order.length + this.at.index];
    const text = Number.isFinite(value) ? signed(value) : "no value";
    this.reading.textContent = `“${units[word]}”, row ${patch[0]}, column ${patch[1]}: ${text}`;
  }

  place(node, patch) {
    const index = patch ? this.data.order.indexOf(patch[0] * this.data.grid[1] + patch[1]) : -1;
    node.style.display = index < 0 ? "none" : "block";
    Object.assign(node.style, { left: `${(100 * index) / this.data.order.length}%`, width: `${100 / this.data.order.length}%` });
    return index < 0 ? null : { index, patch };
  }
}
