type Child = Node | string;

/** Create an element with properties, attributes (aria-..., data-...) and children. */
export function element<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  properties: Record<string, unknown> = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in made) Object.assign(made, { [name]: value });
    else made.setAttribute(name, String(value));
  }
  made.append(...children);
  return made;
}

/** The text with a capital first letter. */
export function heading(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
