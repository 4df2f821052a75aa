// Package spool is the durable queue between a producer of batches (the probe, the importers) and Kafka.
//
// In come records: an encoded batch with its key, and the identity and totals of the batch (Meta). Append returns
// when the record is on disk. Out go, by Publish, the same bytes to Kafka through an idempotent producer; a record
// leaves the disk only when Kafka has acknowledged it. What had to be dropped (spool full, disk damaged) is counted,
// remembered over restarts, and handed out by Dropped so that the next batch can declare it.
//
// Bytes given to Append are copied; bytes returned by Next belong to the caller.
//
// # On disk
//
// A directory holds `lock`, `state`, `seg-<id>-<salt>.tws` (or .twe) and `rejected/`. A segment is a run of records, each a
// header of fixed size with its own CRC, then the payload. Identity, totals and running sums stand in the header, so
// a damaged payload is still declared exactly, and a damaged header can be told from its neighbours. The word after
// the header CRC is the acknowledgement, written in place: so a full disk never prevents it. Nothing is ever
// appended to a segment of an earlier run. The extension names the format: a later one takes another, so that an older
// release leaves alone what it cannot read. `state` has two slots of fixed size, allocated at the start and written in
// turn: drops can be recorded on a full disk.
//
// # Encryption
//
// With a key, the payload of a record (message key, batch, declarations) is encrypted and tied to its whole header by
// package seal, and the segment ends in .twe; batches in rejected/ are encrypted too. Headers stay readable: segment and
// record number, partition, lengths, time, identity and totals of the batch, and four octets that tell keys apart. So
// damage is declared as exactly as without, one hit loses one record, and a wrong key is an error of Open instead of
// damage. Plain segments from before are sent as they are. Nobody who can only write to the directory can alter an
// encrypted record or let one stand for another; taking records away, or adding plain ones, is not prevented.
//
// # What a crash may do
//
// An acknowledgement that was not yet on disk is repeated, by a new producer id: the identity (probe, epoch, worker,
// seq) in the batch removes the double. A record whose identity is both stored and declared as dropped was stored:
// the store wins.
package spool
