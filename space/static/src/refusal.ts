/** Something that cannot be done; the message is a sentence for people. */
export class Refusal extends Error {}
