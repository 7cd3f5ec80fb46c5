// The photograph with the chosen mask, points and a box on it, and the candidates beside it. A click adds a point, a drag draws
// a box; the candidates are buttons.

const DRAG_PX = 5;
const STEP = 0.02;

export default function ({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector(".masks");
  const view = (root.view ??= new MaskView(root));
  view.send = (event) => setTriggerValue("event", event);
  view.show(data);
}

class MaskView {
  constructor(root) {
    this.root = root;
    this.tool = "on";
    this.cross = [0.5, 0.5];
    this.picture = element("div", { className: "picture", tabIndex: 0, role: "application" });
    this.photo = element("img", { alt: "" });
    this.picture.append(this.photo);
    this.tools = Object.fromEntries([["on", "+ point"], ["off", "− point"], ["box", "box"]].map(([name, text]) => {
      const button = element("button", { type: "button" }, text);
      button.onclick = () => this.use(name);
      return [name, button];
    }));
    const clear = element("button", { type: "button" }, "clear");
    clear.onclick = () => this.send({ type: "clear" });
    this.clear = clear;
    this.hint = element("span", { className: "hint" });
    this.shown = element("div", { className: "candidates" });
    const bar = element("div", { className: "bar" }, ...Object.values(this.tools), clear);
    root.replaceChildren(element("div", { className: "left" }, bar, this.picture), element("div", { className: "right" }, this.hint, this.shown));
    this.picture.onpointerdown = (event) => this.down(event);
    this.picture.onpointermove = (event) => this.move(event);
    this.picture.onpointerup = (event) => this.up(event);
    this.picture.onpointercancel = () => (this.start = null);
    this.picture.onkeydown = (event) => this.key(event);
    this.picture.onblur = () => this.point(null);
    this.use("on");
  }

  show(data) {
    this.data = data;
    const { width, height } = data.photo;
    this.picture.style.aspectRatio = `${width} / ${height}`;
    this.root.style.setProperty("--ratio", width / height);
    this.root.style.setProperty("--on", `rgb(${data.colours.positive})`);
    this.root.style.setProperty("--off", `rgb(${data.colours.negative})`);
    this.root.style.setProperty("--region", data.colours.region);
    if (this.photo.src !== data.photo.colour) this.photo.src = data.photo.colour;
    this.picture.setAttribute("aria-label", "The image with its mask. Arrow keys move a cross, Enter sets a point there.");
    this.picture.querySelector("svg")?.remove();
    this.picture.append(this.drawing(data.chosen, true));
    this.hint.textContent = data.hint;
    this.clear.disabled = !data.drawn;
    this.shown.replaceChildren(...data.candidates.map((candidate, index) => this.candidate(candidate, index)));
  }

  candidate({ path, text, chosen }, index) {
    const photo = element("img", { alt: "", src: this.data.photo.grey });
    const frame = element("span", { className: "thumb" }, photo, this.drawing(path, false));
    frame.style.aspectRatio = this.picture.style.aspectRatio;
    const button = element("button", { type: "button", className: "candidate" }, frame, element("span", {}, text));
    button.setAttribute("aria-pressed", String(chosen));
    button.dataset.testid = "candidate";
    button.onclick = () => this.send({ type: "candidate", index });
    return button;
  }

  drawing(path, whole) {
    const { width, height } = this.data.photo;
    const svg = vector("svg", { viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", "aria-hidden": "true" });
    if (path) {
      svg.append(vector("path", { class: "outside", "fill-rule": "evenodd", d: `M0 0H${width}V${height}H0Z${path}` }));
      svg.append(vector("path", { class: "halo", d: path }), vector("path", { class: "line", d: path }));
    }
    if (!whole) return svg;
    for (const other of this.data.others) svg.append(vector("path", { class: "other", d: other }));
    if (this.data.region) svg.append(vector("path", { class: "region", d: this.data.region }));
    if (this.data.box) {
      const [left, top, right, bottom] = this.data.box;
      svg.append(vector("rect", { class: "box", x: left, y: top, width: right - left, height: bottom - top }));
    }
    const radius = width / 90;
    for (const [x, y, label] of this.data.points) svg.append(vector("ellipse", { class: label ? "on" : "off", cx: x, cy: y, rx: radius, ry: radius }));
    this.rubber = vector("rect", { class: "box" });
    this.mark = vector("path", { class: "cross" });
    svg.append(this.rubber, this.mark);
    return svg;
  }

  use(tool) {
    this.tool = tool;
    for (const [name, button] of Object.entries(this.tools)) button.setAttribute("aria-pressed", String(name === tool));
  }

  at(event) {
    const box = this.picture.getBoundingClientRect();
    return [Math.max(0, clamp((event.clientX - box.left) / box.width, 0.9999)), Math.max(0, clamp((event.clientY - box.top) / box.height, 0.9999))];
  }

  down(event) {
    if (event.button) return;
    this.start = this.at(event);
    this.picture.setPointerCapture(event.pointerId);
  }

  move(event) {
    if (!this.start || this.tool !== "box") return;
    const [left, top, right, bottom] = this.corners(this.at(event));
    for (const [name, value] of Object.entries({ x: left, y: top, width: right - left, height: bottom - top })) this.rubber.setAttribute(name, value);
  }

  up(event) {
    const { start } = this;
    this.start = null;
    if (!start) return;
    const end = this.at(event);
    const box = this.picture.getBoundingClientRect();
    const far = Math.hypot((end[0] - start[0]) * box.width, (end[1] - start[1]) * box.height) >= DRAG_PX;
    if (this.tool !== "box") this.add(start);
    else if (far) {
      this.start = start;
      this.send({ type: "box", box: this.corners(end) });
      this.start = null;
    }
  }

  corners(end) {
    const { width, height } = this.data.photo;
    const [xs, ys] = [0, 1].map((axis) => [this.start[axis], end[axis]].sort((a, b) => a - b));
    return [Math.floor(xs[0] * width), Math.floor(ys[0] * height), Math.ceil(xs[1] * width), Math.ceil(ys[1] * height)];
  }

  add([x, y]) {
    const { width, height } = this.data.photo;
    this.send({ type: "point", x: Math.floor(x * width), y: Math.floor(y * height), label: this.tool === "off" ? 0 : 1 });
  }

  key(event) {
    const move = { ArrowUp: [0, -STEP], ArrowDown: [0, STEP], ArrowLeft: [-STEP, 0], ArrowRight: [STEP, 0] }[event.key];
    if (move) this.point(this.cross.map((value, axis) => Math.max(0, clamp(value + move[axis], 0.9999))));
    else if (event.key === "Enter") this.add(this.cross);
    else return;
    event.preventDefault();
  }

  point(cross) {
    this.cross = cross ?? this.cross;
    const { width, height } = this.data.photo;
    const [x, y] = [this.cross[0] * width, this.cross[1] * height];
    const size = width / 30;
    this.mark?.setAttribute("d", cross ? `M${x - size} ${y}H${x + size}M${x} ${y - size}V${y + size}` : "");
  }
}
