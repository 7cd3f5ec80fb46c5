// The patch under the pointer, told to all that stand on the same page: maps, tables and matrices of one grid of patches.

function tellPatch(root, patch, grid) {
  document.dispatchEvent(new CustomEvent("clip-theatre-patch", { detail: { patch, grid, root } }));
}

// Calls `follow` with the patch, or null, whenever another part, or this one, tells of it; grid() is [rows, columns].
function followPatch(root, follow, grid) {
  const heard = ({ detail }) => {
    if (!root.isConnected) document.removeEventListener("clip-theatre-patch", heard);
    else if (String(detail.grid) === String(grid())) follow(detail.patch, detail.root === root);
  };
  document.addEventListener("clip-theatre-patch", heard);
}
