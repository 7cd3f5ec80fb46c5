// The keyboard of a map view: one tab stop for all maps. Arrow keys go from map to map, Enter goes into one; there they
// move over its patches, Enter chooses one and Escape leaves. A view of a single map is entered by its focus.

const MOVES = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

class Walk {
  constructor(view) {
    this.view = view;
    this.active = 0;
    this.inside = false; // whether arrow keys move over the patches of the active map
  }

  // The one map that Tab reaches.
  activate(place, focus) {
    this.active = place;
    this.view.cells.forEach((cell, index) => {
      cell.frame.tabIndex = index === place ? 0 : -1;
      if (cell.button) cell.button.tabIndex = index === place ? 0 : -1;
    });
    if (focus) this.view.cells[place].frame.focus();
  }

  key(event, cell, choose) {
    const [rows, columns] = this.view.data.grid;
    if (this.view.pen?.key(event)) return;
    const move = MOVES[event.key];
    const inside = !choose && (this.inside || this.view.cells.length === 1);
    const from = this.view.hovered ?? this.view.data.patch ?? [rows >> 1, columns >> 1];
    if (move && inside) this.view.hover([clamp(from[0] + move[0], rows - 1), clamp(from[1] + move[1], columns - 1)]);
    else if (move) this.step(cell, move);
    else if (event.key === "Home" || event.key === "End") this.activate(event.key === "Home" ? 0 : this.view.cells.length - 1, true);
    else if ((event.key === "Enter" || event.key === " ") && choose) choose();
    else if (event.key === "Enter" && !inside) this.enter(from);
    else if (event.key === "Enter") this.view.pick(from);
    else if (event.key === "Escape") this.leave();
    else return;
    event.preventDefault();
  }

  enter(patch) {
    this.inside = true;
    this.view.hover(patch);
  }

  leave() {
    this.inside = false;
    this.view.hover(null);
  }

  // To the map beside, above or below.
  step(from, [down, right]) {
    const boxes = this.view.cells.map(({ frame }) => frame.getBoundingClientRect());
    const at = boxes[this.view.cells.indexOf(from)];
    const ahead = (box) => (down ? down * (box.top - at.top) : right * (box.left - at.left));
    const aside = (box) => (down ? Math.abs(box.left - at.left) : Math.abs(box.top - at.top));
    const reached = boxes.map((box, index) => [index, ahead(box), aside(box)]).filter(([, far, off]) => far > 1 && (down || off < 1));
    reached.sort((a, b) => a[1] - b[1] || a[2] - b[2]);
    if (reached.length) this.activate(reached[0][0], true);
  }
}
