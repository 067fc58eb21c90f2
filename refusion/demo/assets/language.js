// The texts of this page are in English. Gradio declares the whole page to be in the language of the browser, because its
// own few labels are; a screen reader would then read English with the voice of another language.
(() => {
  const page = document.documentElement;
  const declare = () => { if (page.lang !== 'en') page.lang = 'en'; };
  new MutationObserver(declare).observe(page, { attributeFilter: ['lang'] });
  declare();
})();
