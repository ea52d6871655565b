// Package arch holds the source to its plan, as tests: which package may import
// which, which library belongs where, a few habits of the code, and that every
// promise of docs/guarantees.md names proofs that exist. Each rule has its reason
// beside it; change the reason before the rule.
//
// Test files are free to import what they need.
package arch
