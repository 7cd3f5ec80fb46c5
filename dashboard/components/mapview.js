// A grid of similarity maps over one photograph. The server sends patch grids; this file upscales, colours and links them:
// hovering a patch shows its value in every map, a click reports it. All text is set through textContent.
// A table has the titles of its rows at the left, those of its columns in a line that stays in sight.

const OPACITY = 0.92;
const LEAST_CELL_PX = 82;
const GAP_PX = 8;
const HOVERED = "clip-theatre-hovered"; // tells other views of the same link, whose grids may differ, where the pointer is
const NAME_PX = 118; // of a table's titles of rows
const TALLEST_PX = 340;

export default function ({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector(".view");
  const view = (root.view ??= new MapView(root));
  view.send = (event) => setTriggerValue("event", event);
  view.show(data);
}

class MapView {
  constructor(root) {
    this.root = root;
    this.hovered = null;
    this.dragged = null;
    followPatch(root, (patch, own) => own || this.hover(patch, false), () => this.data?.grid);
    new ResizeObserver(() => {
      this.arrange();
      this.paint();
    }).observe(root);
    const follow = ({ detail }) => {
      if (!root.isConnected) document.removeEventListener(HOVERED, follow);
      else if (detail.from !== this && detail.link && detail.link === this.data?.link) this.mirror(detail.place);
    };
    document.addEventListener(HOVERED, follow);
  }

  async show(data) {
    this.data = data;
    const signature = JSON.stringify([data.draw, data.rows.map((row) => [row.title, row.chooses, row.cells.map((c) => [c.title, c.error, c.hint, c.action])]), data.grid, data.photo.width, data.photo.height, !data.aside, data.histogram, data.colour_bar, data.table, data.opacity !== null]);
    if (signature !== this.signature) {
      this.signature = signature;
      this.build();
    }
    this.cells.forEach((cell) => {
      cell.values = floats(cell.spec().values);
      const { values } = cell;
      const mean = values.length ? values.reduce((a, b) => a + b, 0) / values.length : NaN;
      Object.assign(cell.frame.dataset, { min: Math.min(...values), max: Math.max(...values), mean });
      cell.vectors.replaceChildren(...this.outlines(), ...this.points(cell.spec().points));
      cell.figure.classList.toggle("chosen", cell.spec().chosen);
      if (cell.chooses) cell.frame.setAttribute("aria-selected", String(cell.spec().chosen));
      this.say(cell);
    });
    this.photoVectors?.replaceChildren(...this.outlines());
    this.fill();
    this.mark();
    await this.load();
    this.paint();
  }

  async load() {
    if (this.data.photo.grey === this.source) return;
    this.source = this.data.photo.grey;
    const image = new Image();
    image.src = this.source;
    await image.decode();
    this.image = image;
  }

  build() {
    const { data } = this;
    this.cells = [];
    this.walk = new Walk(this);
    this.photo = this.photoFrame = this.photoVectors = null;
    const rows = data.rows.map((row, r) => this.row(row, r));
    this.grids = rows.map((row) => row.querySelector(".cells"));
    this.heads = (data.rows.length > 1 || data.table) && data.rows.every((_, r) => !r || this.repeats(r)) ? [this.head()] : [];
    const grid = element("div", { className: "grid" }, ...this.heads, ...rows);
    grid.setAttribute("role", "grid");
    grid.setAttribute("aria-label", "Maps. Arrow keys go from map to map. Enter goes into a map: there arrow keys move over its patches, Enter chooses one, Escape leaves.");
    const main = element("div", { className: "main" }, grid);
    this.pen = data.draw ? new Pen(this, this.cells[0]) : null;
    this.pen && main.append(this.pen.bar);
    const aside = data.aside ? this.aside() : null;
    const foot = this.foot();
    if (!data.table) (aside ?? main).append(foot);
    this.root.classList.toggle("small", !aside && !data.table);
    this.root.classList.toggle("wide", data.wide);
    if (!aside && !data.table) (this.pen?.bar ?? main).prepend((this.place = this.status()));
    this.root.replaceChildren(...(aside ? [aside] : []), main, ...(data.table ? [foot] : []));
    this.root.style.setProperty("--region", data.colours.region);
    this.root.style.setProperty("--name", `${NAME_PX}px`);
    for (const sign of ["positive", "negative"]) this.root.style.setProperty(`--${sign}`, `rgb(${data.colours[sign]})`);
    this.walk.activate(0, false);
    this.arrange();
  }

  status() {
    const place = element("div", { className: "place" });
    place.setAttribute("role", "status");
    return place;
  }

  row(row, r) {
    const cells = row.cells.map((spec, c) => this.cell(r, c, spec));
    const name = element("div", { className: "name" }, row.title);
    name.setAttribute("role", "rowheader");
    if (row.share) name.append(this.share(row.share));
    const grid = element("div", { className: "cells" }, ...cells);
    const node = element("div", { className: row.chooses ? "row choices" : "row" }, ...(row.title ? [name] : []), grid);
    node.setAttribute("role", "row");
    node.style.order = 2 * r;
    return node;
  }

  share({ value, text }) {
    const fill = element("div", { className: "fill" });
    fill.style.width = `${100 * value}%`;
    return element("div", { className: "bar" }, text, element("div", { className: "track" }, fill));
  }

  // The titles of all columns, which stay in sight while the rows are scrolled.
  head() {
    const titles = this.data.rows[0].cells.map((spec) => {
      const title = element("div", { className: "title", title: spec.hint }, spec.title);
      title.setAttribute("role", "columnheader");
      return title;
    });
    const corner = element("div", { className: "corner" }, this.data.corner);
    corner.setAttribute("role", "columnheader");
    const head = element("div", { className: "head" }, corner, ...titles);
    head.setAttribute("role", "row");
    return head;
  }

  // As many columns as maps of a row; where there is no room for them, several lines of about the same length.
  arrange() {
    const widest = Math.max(1, ...(this.grids ?? []).map((grid) => grid.children.length));
    const wanted = widest * (LEAST_CELL_PX + GAP_PX) + NAME_PX;
    const table = Boolean(this.data?.table && this.root.clientWidth >= wanted);
    this.root.classList.toggle("table", table);
    let wrapped = false;
    for (const grid of this.grids ?? []) {
      const count = grid.children.length;
      const room = Math.max(1, Math.floor((grid.clientWidth + GAP_PX) / (LEAST_CELL_PX + GAP_PX)));
      const lines = Math.max(1, Math.ceil(count / room));
      const columns = Math.ceil(count / lines);
      grid.style.setProperty("--columns", columns);
      this.heads[0]?.style.setProperty("--columns", columns);
      wrapped ||= lines > 1;
    }
    this.root.classList.toggle("wrapped", wrapped);
    this.root.classList.toggle("headed", this.heads?.length > 0 && !wrapped);
  }

  aside() {
    const photo = element("img", { alt: "the image", src: this.data.photo.colour });
    const frame = this.frame(photo);
    this.photoVectors = frame.vectors;
    this.photoFrame = frame;
    this.photo = photo;
    this.bars = element("div", { className: "bars" });
    this.place = this.status();
    return element("div", { className: "aside" }, element("div", { className: "label" }, "Image", this.place), frame.node, this.bars);
  }

  frame(content) {
    const { width, height, ratio } = this.data.photo;
    const vectors = vector("svg", { viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", "aria-hidden": "true" });
    const patch = element("div", { className: "marker patch" });
    const hover = element("div", { className: "marker hover" });
    const node = element("div", { className: "frame" }, content, vectors, patch, hover);
    node.style.aspectRatio = ratio;
    node.style.maxWidth = `${TALLEST_PX * ratio}px`;
    node.onpointermove = (event) => this.hover(this.locate(event, node));
    node.onpointerleave = () => this.hover(null);
    node.onclick = (event) => this.pick(this.locate(event, node));
    return { node, vectors, patch, hover };
  }

  cell(r, c, spec) {
    const canvas = element("canvas", { "aria-hidden": "true" });
    const frame = this.frame(canvas);
    const note = element("div", { className: "note" });
    const value = element("div", { className: "value", "aria-hidden": "true" });
    const head = element("div", { className: "title", title: spec.hint }, spec.title);
    const button = spec.action ? this.action(r, c, spec) : null;
    frame.node.append(value, ...(button ? [button] : []));
    const figure = element("div", { className: "cell" }, head, frame.node, note);
    const { chooses } = this.data.rows[r];
    const cell = { ...frame, frame: frame.node, figure, canvas, note, value, button, chooses, r, c, spec: () => this.data.rows[r].cells[c] };
    frame.node.setAttribute("role", "gridcell");
    if (spec.error) {
      frame.node.append(element("div", { className: "problem" }, spec.error));
      frame.node.onclick = frame.node.onpointermove = null;
      return figure;
    }
    const place = this.cells.push(cell) - 1;
    const choose = () => this.send({ type: "action", row: r, column: c });
    if (chooses) frame.node.onclick = choose;
    frame.node.onkeydown = (event) => event.target === frame.node && this.walk.key(event, cell, chooses ? choose : null);
    frame.node.onfocus = () => this.walk.activate(place, false);
    frame.node.onblur = () => (this.walk.inside = false);
    Object.assign(frame.node.dataset, { testid: "map", title: spec.title, row: this.data.rows[r].title });
    return figure;
  }

  // What a screen reader says of a map.
  say(cell) {
    const { title, note } = cell.spec();
    const how = cell.chooses ? "Enter puts it in the row above." : "";
    const drawn = this.pen?.cell === cell ? "Drag, or Shift and arrow keys, draw a box of patches as the region; Enter keeps it." : "";
    const parts = [`Map: ${title}`, this.data.rows[cell.r].title, ...note.split("\n"), how, drawn];
    cell.frame.setAttribute("aria-label", parts.filter(Boolean).join(", "));
  }

  // Whether this row has the same columns as the first one, so that their titles need not be said again.
  repeats(r) {
    const titles = (row) => row.cells.map((cell) => cell.title).join("\n");
    return r > 0 && titles(this.data.rows[r]) === titles(this.data.rows[0]);
  }

  action(r, c, spec) {
    const label = `${spec.action}: ${spec.title} ${this.data.rows[r].title}`;
    const button = element("button", { type: "button", className: "action", title: label }, spec.action);
    button.setAttribute("aria-label", label);
    button.onclick = (event) => {
      event.stopPropagation();
      this.send({ type: "action", row: r, column: c });
    };
    return button;
  }

  foot() {
    const { data } = this;
    this.strip = element("div", { className: "strip" });
    this.ticks = element("div", { className: "ticks" });
    this.unit = element("div", { className: "label" });
    const bar = data.colour_bar ? [this.unit, this.strip, this.ticks] : [];
    const scale = element("div", { className: "scale" }, ...bar, ...(data.opacity === null ? [] : [this.fader()]));
    this.histogram = data.histogram ? new Histogram(this) : null;
    const values = this.histogram ? [element("div", { className: "values" }, ...this.histogram.nodes)] : [];
    const first = data.table && data.histogram ? [this.picture()] : [];
    if (data.table && !data.histogram) values.push((this.place = this.status()));
    return element("div", { className: "foot" }, ...first, scale, ...values);
  }

  // The photograph in colour, in the foot of a table.
  picture() {
    const photo = element("img", { alt: "the image", src: this.data.photo.colour });
    const frame = this.frame(photo);
    [this.photo, this.photoFrame, this.photoVectors, this.place] = [photo, frame, frame.vectors, this.status()];
    return element("div", { className: "picture" }, frame.node, this.place);
  }

  // How much of the map covers the grey photograph.
  fader() {
    const slider = element("input", { type: "range", min: 0, max: 100, value: Math.round(100 * this.data.opacity) });
    slider.setAttribute("aria-label", "Opacity of the maps over the photograph, in percent");
    slider.oninput = () => {
      this.data.opacity = slider.value / 100;
      this.paint();
    };
    slider.onchange = () => this.send({ type: "opacity", value: slider.value / 100 });
    return element("label", { className: "fader" }, "photo", slider, "map");
  }

  get threshold() {
    return this.dragged ?? this.data.threshold;
  }

  drag(value) {
    this.dragged = value;
    this.paint();
  }

  release(value) {
    this.dragged = null;
    this.data.threshold = value;
    this.paint();
    this.send({ type: "threshold", value });
  }

  locate(event, node) {
    const box = node.getBoundingClientRect();
    const [rows, columns] = this.data.grid;
    const row = Math.floor(((event.clientY - box.top) / box.height) * rows);
    const column = Math.floor(((event.clientX - box.left) / box.width) * columns);
    return [Math.min(rows - 1, Math.max(0, row)), Math.min(columns - 1, Math.max(0, column))];
  }

  pick(patch) {
    this.data.patch = patch;
    this.mark();
    this.send({ type: "patch", row: patch[0], column: patch[1] });
  }

  hover(patch, tell = true) {
    if (String(patch) === String(this.hovered)) return;
    this.hovered = patch;
    if (tell) tellPatch(this.root, patch, this.data.grid);
    this.mark();
    const [rows, columns] = this.data.grid;
    const place = patch && [(patch[0] + 0.5) / rows, (patch[1] + 0.5) / columns];
    if (this.data.link) document.dispatchEvent(new CustomEvent(HOVERED, { detail: { from: this, link: this.data.link, place } }));
  }

  mirror(place) {
    this.hovered = place && place.map((share, axis) => Math.floor(share * this.data.grid[axis]));
    this.mark();
  }

  mark() {
    const [rows, columns] = this.data.grid;
    const place = (marker, patch) => {
      marker.style.display = patch ? "block" : "none";
      if (!patch) return;
      Object.assign(marker.style, { left: `${(100 * patch[1]) / columns}%`, top: `${(100 * patch[0]) / rows}%`, width: `${100 / columns}%`, height: `${100 / rows}%` });
    };
    for (const frame of [...this.cells, ...(this.photoFrame ? [this.photoFrame] : [])]) {
      place(frame.patch, this.data.patch);
      place(frame.hover, this.hovered);
    }
    const at = this.hovered;
    for (const cell of this.cells) {
      cell.value.textContent = at ? signed(cell.values[at[0] * columns + at[1]]) : "";
      cell.value.classList.toggle("above", Boolean(at) && 2 * at[0] >= rows);
      cell.note.replaceChildren(...cell.spec().note.split("\n").map((line) => this.line(line)));
    }
    const { inside, active } = this.walk;
    const spoken = inside ? [element("span", { className: "spoken" }, `: ${this.cells[active].value.textContent}`)] : [];
    this.place.replaceChildren(at ? ` row ${at[0]}, column ${at[1]}` : "", ...spoken);
  }

  // A line of a note; a flip AUC shows by mark and colour on which side of chance it lies.
  line(text) {
    const found = /AUC ([\d.]+)/.exec(text);
    if (!found || +found[1] === 0.5) return element("div", {}, text);
    const auc = element("span", { className: +found[1] < 0.5 ? "auc flipped" : "auc" }, text.slice(found.index));
    return element("div", {}, text.slice(0, found.index), auc);
  }

  outlines() {
    if (!this.data.outline) return [];
    return ["halo", "line"].map((name) => vector("path", { class: `outline ${name}`, d: this.data.outline }));
  }

  points(points) {
    const { width, height } = this.data.photo;
    const { positive, negative } = this.data.colours;
    return points.map(([x, y, label]) => vector("ellipse", { class: "point", cx: x, cy: y, rx: width / 64, ry: width / 64, fill: `rgb(${label ? positive : negative})` }));
  }

  fill() {
    const { data } = this;
    const [low, high] = { signed: [-data.limit, data.limit], positive: [0, data.limit], minmax: [0, 1] }[data.scale];
    const { positive, negative } = data.colours;
    const left = data.scale === "signed" ? `rgba(${negative},${OPACITY}), ` : "";
    this.strip.style.background = `linear-gradient(90deg, ${left}rgba(128,128,128,0), rgba(${positive},${OPACITY})), #8b8b8b`;
    this.ticks.replaceChildren(...[0, 0.5, 1].map((t) => element("span", {}, number(low + t * (high - low)))));
    this.unit.textContent = data.unit;
    if (this.photo) this.photo.src = data.photo.colour;
    if (!data.aside) return;
    this.bars.replaceChildren(element("div", { className: "label" }, data.aside.title), ...data.aside.bars.map((bar) => this.bar(bar)));
  }

  bar({ label, value, text }) {
    const fill = element("div", { className: "fill" });
    fill.style.width = `${100 * value}%`;
    const line = element("div", { className: "text" }, element("span", {}, label), element("span", {}, text));
    return element("div", { className: "bar" }, line, element("div", { className: "track" }, fill));
  }

  paint() {
    if (!this.image) return;
    for (const cell of this.cells) paintMap(this, cell);
    this.histogram?.paint();
  }
}
