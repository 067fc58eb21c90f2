// Reorders the thumbnails in `element`: drag one onto another's place, or use its two buttons; the third removes it.
const items = () => [...element.querySelectorAll('li[data-index]')];
const indices = (list) => list.map((item) => Number(item.dataset.index));
const tell = (list) => trigger('move', { order: indices(list) });

function move(from, to) {
  const list = items();
  if (to < 0 || to >= list.length || from === to) return;
  list.splice(to, 0, ...list.splice(from, 1));
  tell(list);
}

element.addEventListener('click', (event) => {
  const remove = event.target.closest('[data-remove]');
  if (remove) trigger('move', { order: indices(items()), removed: Number(remove.closest('li').dataset.index) });
  const button = event.target.closest('[data-move]');
  if (!button) return;
  const from = items().indexOf(button.closest('li'));
  move(from, from + Number(button.dataset.move));
});

let dragged = null;
element.addEventListener('dragstart', (event) => {
  dragged = event.target.closest('li[data-index]');
  if (dragged) event.dataTransfer.effectAllowed = 'move';
});
element.addEventListener('dragover', (event) => {
  if (dragged && event.target.closest('li[data-index]')) event.preventDefault();
});
element.addEventListener('drop', (event) => {
  const target = event.target.closest('li[data-index]');
  if (!dragged || !target) return;
  event.preventDefault();
  move(items().indexOf(dragged), items().indexOf(target));
  dragged = null;
});
