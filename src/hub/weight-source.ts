/** Where a model's parameters come from: read one tensor at a time, so that a large model is never held twice. */
export interface WeightSource extends AsyncDisposable {
  /** What to call it in messages: a path, or `hashed:5`. */
  readonly label: string;
  /** Shape by published key (`encoder.blocks.0.attn.q_proj.weight`), without `module.` and without `vgg_encoder.*`. */
  readonly shapes: ReadonlyMap<string, readonly number[]>;
  /**
   * The values of one tensor, row-major, in an array of its own.
   * @throws StylizingError `CHECKPOINT` when there is no such key or its values cannot be used
   */
  read(key: string): Promise<Float32Array>;
}
