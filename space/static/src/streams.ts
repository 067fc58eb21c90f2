import type { Frame } from "./messages";
import { Refusal } from "./refusal";

/** Frames of both sources: from two videos, or from one stream that shows them side by side. */
export class Streams {
  constructor(
    private readonly videos: HTMLVideoElement[],
    private readonly stop: () => void,
  ) {}

  /** The current frames, scaled to this width; null when a stream has ended. */
  frames(width: number): [Frame, Frame] | null {
    const [a, b = a] = this.videos;
    if (!a || !b || this.videos.some((video) => video.ended)) return null;
    // The second video follows the first.
    if (a !== b && Math.abs(a.currentTime - b.currentTime) > 0.1) b.currentTime = a.currentTime;
    const half = a === b ? 0.5 : 1;
    const height = Math.max(8, Math.round((width * a.videoHeight) / (half * a.videoWidth)));
    return [cut(a, 0, half, width, height), cut(b, 1 - half, half, width, height)];
  }

  close(): void {
    this.stop();
  }
}

/** Open two video files, or one that shows both sources side by side. */
export async function fromFiles(files: File[]): Promise<Streams> {
  const addresses = files.map((file) => URL.createObjectURL(file));
  const stop = () => addresses.forEach((address) => URL.revokeObjectURL(address));
  const videos = addresses.map((src) => Object.assign(document.createElement("video"), { src, muted: true, loop: true, playsInline: true }));
  for (const [i, video] of videos.entries()) {
    try {
      await video.play();
    } catch {
      stop();
      throw new Refusal(`${files[i]!.name} is not a video that this browser can play; give MP4 (H.264) or WebM.`);
    }
  }
  return new Streams(videos, () => {
    videos.forEach((video) => video.pause());
    stop();
  });
}

/** Open a camera that shows both sources side by side. */
export async function fromCamera(): Promise<Streams> {
  if (!navigator.mediaDevices) throw new Refusal("This browser does not let this page use a camera; open the page over HTTPS.");
  let stream: MediaStream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 1280 } }, audio: false });
  } catch (error) {
    throw new Refusal(
      (error as Error).name === "NotFoundError"
        ? "There is no camera here; connect one, or choose videos."
        : "The camera cannot be used; allow it for this page in the browser, and close other programs that use it.",
    );
  }
  const video = Object.assign(document.createElement("video"), { srcObject: stream, muted: true, playsInline: true });
  await video.play();
  return new Streams([video], () => stream.getTracks().forEach((track) => track.stop()));
}

function cut(video: HTMLVideoElement, start: number, share: number, width: number, height: number): Frame {
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true })!;
  const { videoWidth, videoHeight } = video;
  context.drawImage(video, start * videoWidth, 0, share * videoWidth, videoHeight, 0, 0, width, height);
  const { data } = context.getImageData(0, 0, width, height);
  return { width, height, data: data as Uint8ClampedArray<ArrayBuffer> };
}
