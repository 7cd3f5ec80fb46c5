// Draws a region on one map of a map view: a box or a lasso with the pointer, a box of patches with Shift and arrow keys.
// A press without a drag stays a click on a patch. What is drawn is sent in pixels of the image.

const LEAST_DRAG_PX = 5;

class Pen {
  constructor(view, cell) {
    this.view = view;
    this.cell = cell;
    this.shape = "box";
    this.trace = null; // points of the pointer since it went down, in shares of the picture
    this.anchor = null; // patch in which a box drawn by keyboard begins
    this.buttons = ["box", "lasso"].map((shape) => this.button(shape, () => this.use(shape)));
    this.clear = this.button("clear", () => view.send({ type: "region", shape: "none", points: [] }));
    this.clear.setAttribute("aria-label", "Clear the region");
    const label = element("span", {}, "draw the region:");
    this.bar = element("div", { className: "pen" }, label, ...this.buttons, this.clear);
    cell.frame.classList.add("drawable");
    cell.frame.addEventListener("pointerdown", (event) => this.down(event));
    cell.frame.addEventListener("pointermove", (event) => this.move(event));
    cell.frame.addEventListener("pointerup", (event) => this.up(event));
    cell.frame.addEventListener("pointercancel", () => this.drop());
    const pick = cell.frame.onclick;
    cell.frame.onclick = (event) => (this.drawn ? (this.drawn = false) : pick(event));
    this.use("box");
  }

  button(name, act) {
    const made = element("button", { type: "button" }, name);
    made.onclick = act;
    return made;
  }

  use(shape) {
    this.shape = shape;
    for (const button of this.buttons) button.setAttribute("aria-pressed", String(button.textContent === shape));
  }

  at(event) {
    const box = this.cell.frame.getBoundingClientRect();
    return [clamp((event.clientX - box.left) / box.width, 1), clamp((event.clientY - box.top) / box.height, 1)];
  }

  down(event) {
    if (event.button || event.target.closest("button")) return;
    this.drawn = false;
    this.trace = [this.at(event)];
    this.start = [event.clientX, event.clientY];
    this.cell.frame.setPointerCapture(event.pointerId);
  }

  move(event) {
    if (!this.trace) return;
    const far = Math.hypot(event.clientX - this.start[0], event.clientY - this.start[1]) >= LEAST_DRAG_PX;
    if (far) this.drawn = true;
    if (!this.drawn) return;
    this.trace.push(this.at(event));
    this.preview(this.shape === "box" ? corners(this.trace[0], this.trace.at(-1)) : this.trace);
  }

  up() {
    const trace = this.trace;
    this.drop();
    if (!trace || !this.drawn) return;
    if (this.shape === "box") this.send("box", [trace[0], trace.at(-1)]);
    else if (trace.length > 2) this.send("lasso", trace);
  }

  drop() {
    this.trace = this.anchor = null;
    this.line?.remove();
    this.line = null;
  }

  // Whether the key was one of drawing.
  key(event) {
    const move = MOVES[event.key];
    const [rows, columns] = this.view.data.grid;
    if (event.shiftKey && move && event.target === this.cell.frame) {
      const from = this.view.hovered ?? this.view.data.patch ?? [rows >> 1, columns >> 1];
      this.anchor ??= from;
      this.view.hover([clamp(from[0] + move[0], rows - 1), clamp(from[1] + move[1], columns - 1)]);
      this.preview(corners(...this.box()));
    } else if (this.anchor && event.key === "Enter") {
      const box = this.box();
      this.drop();
      this.send("box", box);
    } else if (this.anchor && event.key === "Escape") {
      this.drop();
      this.view.hover(null);
    } else return false;
    event.preventDefault();
    return true;
  }

  // The patches between anchor and pointer, in shares of the picture.
  box() {
    const [rows, columns] = this.view.data.grid;
    const ends = [this.anchor, this.view.hovered];
    const [top, left] = [0, 1].map((axis) => Math.min(...ends.map((patch) => patch[axis])));
    const [bottom, right] = [0, 1].map((axis) => Math.max(...ends.map((patch) => patch[axis])) + 1);
    return [[left / columns, top / rows], [right / columns, bottom / rows]];
  }

  preview(points) {
    const { width, height } = this.view.data.photo;
    if (!this.line) this.cell.vectors.append((this.line = vector("path", { class: "outline drawing" })));
    this.line.setAttribute("d", `M${points.map(([x, y]) => `${x * width} ${y * height}`).join("L")}Z`);
  }

  send(shape, points) {
    const { width, height } = this.view.data.photo;
    this.view.send({ type: "region", shape, points: points.map(([x, y]) => [x * width, y * height]) });
  }
}

const corners = ([x0, y0], [x1, y1]) => [[x0, y0], [x1, y0], [x1, y1], [x0, y1]];
