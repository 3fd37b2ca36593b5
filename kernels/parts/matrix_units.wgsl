// Matrix units (tensor cores): multiplication of 16 × 16 fragments by a subgroup of 32 lanes, through Dawn's subgroup matrices
// (chromium_experimental_subgroup_matrix; on Vulkan VK_KHR_cooperative_matrix). matrix_emulation.wgsl has the same functions
// in plain WGSL: a kernel calls these alone, so that its body runs on both.
//
// Float16 numbers lie eight to a vec4u, two to a word, in storage and in workgroup memory; places and strides count vec4us.
// Every call must be reached by whole subgroups with equal arguments. `Staging` is the kernel's array in workgroup memory.

enable f16;
enable subgroups;
enable chromium_experimental_subgroup_matrix;
// Whether control flow is uniform over a subgroup cannot be proved from an invocation's index, which is where it comes from.
diagnostic(off, chromium.subgroup_matrix_uniformity);

alias Left = subgroup_matrix_left<f16, 16, 16>;
alias Right = subgroup_matrix_right<f16, 16, 16>;
alias Sum = subgroup_matrix_result<f32, 16, 16>;

/// To be called first, with the invocation's index in its workgroup.
fn matrix_begin(index: u32) {
}

/// 16 rows of 16 float16 numbers: a left operand, [row][depth].
fn load_left(source: ptr<workgroup, Staging>, at: u32, stride: u32) -> Left {
  return subgroupMatrixLoad<Left, row_major>(source, at, stride);
}

/// A right operand, [depth][column].
fn load_right(source: ptr<workgroup, Staging>, at: u32, stride: u32) -> Right {
  return subgroupMatrixLoad<Right, row_major>(source, at, stride);
}

/// A right operand that lies transposed, [column][depth].
fn load_right_transposed(source: ptr<workgroup, Staging>, at: u32, stride: u32) -> Right {
  return subgroupMatrixLoad<Right, col_major>(source, at, stride);
}

fn load_right_stored(source: ptr<storage, array<vec4u>, read>, at: u32, stride: u32) -> Right {
  return subgroupMatrixLoad<Right, row_major>(source, at, stride);
}

fn load_right_stored_transposed(source: ptr<storage, array<vec4u>, read>, at: u32, stride: u32) -> Right {
  return subgroupMatrixLoad<Right, col_major>(source, at, stride);
}

fn multiply_add(left: Left, right: Right, sum: Sum) -> Sum {
  return subgroupMatrixMultiplyAccumulate(left, right, sum);
}

/// Writes 16 rows of 16 f32, four to a vec4u.
fn store_sum(target_memory: ptr<workgroup, Staging>, at: u32, sum: Sum, stride: u32) {
  subgroupMatrixStore<row_major>(target_memory, at, sum, stride);
}
