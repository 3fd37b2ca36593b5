// What is asked of an image, and then how it is done. jobs [images] eight vec4f each:
//   slot of the style's statistics, or -1; which numbers are given (1: the first, 2: the second); strength in [0, 1]; whether it is applied
//   six rows, first the numbers asked for, as the kernel that turns them into a recipe says; then the recipe: rows of A with b, rows of C with d
//   a row that nobody reads
// of which kernels/recolour.wgsl makes  y = A x + b + w (C x + d).

fn first_given(given: f32) -> bool {
  return (u32(given) & 1) == 1;
}

fn second_given(given: f32) -> bool {
  return (u32(given) & 2) == 2;
}
