// Shows uploads that the browser cannot show as they are read: the note about such a file contains a small image of it, which
// depends on the input range.
(() => {
  function show(image) {
    const block = image.closest('.sources > .block');
    const side = [...block.parentElement.querySelectorAll(':scope > .block')].indexOf(block);
    const preview = block.closest('.inputs').querySelector(`.note-box img[data-side="${side}"]`);
    if (!preview || image.src === preview.src) return;
    const { file } = preview.dataset;
    const shown = image.src.startsWith('data:') && image.dataset.file === file;
    if (!shown && !decodeURIComponent(image.src).endsWith(file)) return;
    image.dataset.file = file;
    image.src = preview.src;
  }
  const isSource = (target) => target.matches && target.matches('.sources .image-frame img');
  document.addEventListener('load', ({ target }) => {
    if (!isSource(target)) return;
    target.classList.remove('unseen');
    show(target);
  }, true);
  document.addEventListener('error', ({ target }) => {
    if (!isSource(target)) return;
    target.classList.add('unseen');
    show(target);
  }, true);
  new MutationObserver(() => document.querySelectorAll('.sources .image-frame img').forEach(show))
    .observe(document, { childList: true, subtree: true });
})();
