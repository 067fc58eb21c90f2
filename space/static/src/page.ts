import { load } from "./load";

/** Content of the page, from page.json, which `refusion space --static` writes. */
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
  /** Purpose of the task, above its inputs. */
  text: string;
  /** Summary of the task, for the About panel. */
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
  return (await load("page.json", "The page")).json();
}
