//! Proofs of RFC 9162: that a record is in a log, and that a log only grew.
//!
//! Proofs are made here over all leaf hashes of a tree, which is what tests and a scrub of one tile
//! have. Verifying needs the proof alone: a leaf or two roots, and sizes.
//!
//! Not here: making a proof from stored tile hashes, which touches two tiles instead of all leaves.

use client::types::Digest;
use sha2::{Digest as _, Sha256};

use super::tree::node_hash;

/// The root over these leaves.
pub fn root_of(leaves: &[Digest]) -> Digest {
    match leaves {
        [] => Digest::new(Sha256::digest([]).into()),
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(largest_left(leaves.len()));
            node_hash(&root_of(left), &root_of(right))
        }
    }
}

/// Proves that leaf `index` is among these; nothing if there is no such leaf.
pub fn inclusion_proof(leaves: &[Digest], index: usize) -> Option<Vec<Digest>> {
    if index >= leaves.len() {
        return None;
    }
    let mut proof = Vec::new();
    let (mut leaves, mut index) = (leaves, index);
    while leaves.len() > 1 {
        let (left, right) = leaves.split_at(largest_left(leaves.len()));
        if index < left.len() {
            proof.push(root_of(right));
            leaves = left;
        } else {
            proof.push(root_of(left));
            index -= left.len();
            leaves = right;
        }
    }
    proof.reverse();
    Some(proof)
}

/// Proves that the tree of the first `earlier` leaves grew into this one; nothing if there never
/// was such a tree.
pub fn consistency_proof(leaves: &[Digest], earlier: usize) -> Option<Vec<Digest>> {
    if earlier == 0 || earlier > leaves.len() {
        return None;
    }
    let mut proof = Vec::new();
    let (mut leaves, mut earlier, mut is_whole) = (leaves, earlier, true);
    while earlier < leaves.len() {
        let (left, right) = leaves.split_at(largest_left(leaves.len()));
        if earlier <= left.len() {
            proof.push(root_of(right));
            leaves = left;
        } else {
            proof.push(root_of(left));
            earlier -= left.len();
            leaves = right;
            is_whole = false;
        }
    }
    if !is_whole {
        proof.push(root_of(leaves));
    }
    proof.reverse();
    Some(proof)
}

/// Whether the proof shows that `leaf` has this index in the tree of this size and root (RFC 9162,
/// 2.1.3.2).
pub fn verify_inclusion(
    leaf: &Digest,
    index: u64,
    size: u64,
    root: &Digest,
    proof: &[Digest],
) -> bool {
    if index >= size {
        return false;
    }
    let (mut node, mut last, mut hash) = (index, size - 1, *leaf);
    for sibling in proof {
        if last == 0 {
            return false;
        }
        if node & 1 == 1 || node == last {
            hash = node_hash(sibling, &hash);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    last == 0 && hash == *root
}

/// A tree by its size and root.
pub type SizedRoot = (u64, Digest);

/// Whether the proof shows that the earlier tree grew into the later one (RFC 9162, 2.1.4.2).
pub fn verify_consistency(earlier: SizedRoot, later: SizedRoot, proof: &[Digest]) -> bool {
    let ((earlier_size, earlier_root), (later_size, later_root)) = (earlier, later);
    if earlier_size == 0 || earlier_size > later_size {
        return false;
    }
    if earlier_size == later_size {
        return proof.is_empty() && earlier_root == later_root;
    }
    // The root of a complete earlier tree is its own first node, and not in the proof.
    let mut nodes = proof.iter();
    let first = if earlier_size.is_power_of_two() { Some(&earlier_root) } else { nodes.next() };
    let Some(first) = first else {
        return false;
    };
    let (mut node, mut last) = (earlier_size - 1, later_size - 1);
    while node & 1 == 1 {
        node >>= 1;
        last >>= 1;
    }
    let (mut earlier_hash, mut later_hash) = (*first, *first);
    for sibling in nodes {
        if last == 0 {
            return false;
        }
        if node & 1 == 1 || node == last {
            earlier_hash = node_hash(sibling, &earlier_hash);
            later_hash = node_hash(sibling, &later_hash);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            later_hash = node_hash(&later_hash, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    last == 0 && earlier_hash == earlier_root && later_hash == later_root
}

/// How many leaves the left side of a tree has: the largest power of two below its size.
fn largest_left(size: usize) -> usize {
    size.next_power_of_two() / 2
}
