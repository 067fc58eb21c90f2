/** What the page says and has, from page.json, which `refusion space --static` writes. */
export interface Page {
  version: string;
  introduction: string;
  tasks: TaskText[];
  method: string;
  figure: string;
  citation: string;
  paper: string;
  licence: string;
}

export interface TaskText {
  name: string;
  title: string;
  labels: [string, string];
  /** What the task does, and what kind of pair belongs in its tab. */
  text: string;
  /** What the task does. */
  summary: string;
  limits: string;
  model: string;
  settings: Setting[];
  example: { title: string; files: [string, string] } | null;
}

export interface Setting {
  name: "output_range" | "anchor" | "chroma";
  label: string;
  info: string;
  options: string[];
  chosen: number;
}

export async function loadPage(): Promise<Page> {
  const response = await fetch("page.json");
  return response.json();
}
