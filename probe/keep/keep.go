// Package keep holds the packets of the last hours on disk, and gives back those
// of a flow.
//
// In come the frames of the capture goroutines, with what the decoder found in
// them; each goroutine has its own Writer, which copies the frame into a block of
// memory and nothing more. Full blocks cross a channel to the Ring's goroutine,
// which compresses, indexes, encrypts and writes them into segment files, and
// removes the oldest of these when bytes, age or the file system say so. When the
// disk lags the block is dropped and counted: capture never waits (reading a file
// does, see Writer.Wait). Out come pcap or pcapng files by time, flow, Community ID,
// host or BPF expression, in order of time: through Ring.Find, and over HTTPS with
// tokens, rights and an audit trail through Server.
//
// Frames are copied in Add; nothing of the caller is kept. A Ring is safe for
// concurrent use; a Writer belongs to one goroutine.
//
// # On disk
//
// A segment is a row of blocks and, once it is complete, a directory of them with
// a trailer. A block is a header with checksums, an index (interfaces, hashes of
// flows and hosts, both sorted), and a body: the packets, each with time, lengths
// and the number of its flow, followed by the flows' keys; the body is one zstd
// frame. A process that was killed leaves a segment without a directory: Open finds
// its blocks again by their headers, cuts what is torn, and writes the directory.
// Damage costs the block it is in.
package keep

import (
	"errors"
	"fmt"
	"time"

	"github.com/tapwatch/tapwatch/proto/kit"
)

// Config bounds the ring. Dir empty: no packets are kept.
type Config struct {
	Dir           string        `conf:"dir" help:"directory for packets; empty: none are kept"`
	MaxBytes      kit.Bytes     `conf:"max_bytes" help:"disk the packets may take; then the oldest go"`
	MaxAge        time.Duration `conf:"max_age" help:"packets go at the latest this long after they were written; 0: no bound"`
	MinFree       kit.Bytes     `conf:"min_free" help:"free space to leave on the file system; the oldest packets go for it"`
	CutoffBytes   kit.Bytes     `conf:"cutoff_bytes" help:"keep the first bytes of each flow, both directions together; 0: all"`
	CutoffPackets int           `conf:"cutoff_packets" help:"keep the first packets of each flow, at most 65534; 0: all"`
	CutoffIdle    time.Duration `conf:"cutoff_idle" help:"a flow silent for this long counts from zero again"`
	CutoffFlows   int           `conf:"cutoff_flows" help:"flows each worker remembers for the cut-off, 24 bytes each"`
	Snaplen       int           `conf:"snaplen" help:"bytes kept of a packet; 0: all"`
	Compression   string        `conf:"compression" help:"none, fastest, default or better (zstd); under pressure blocks are left as they are"`
	BlockBytes    kit.Bytes     `conf:"block_bytes" help:"packets that are compressed together, 64KiB to 2MiB"`
	BlockTime     time.Duration `conf:"block_time" help:"a block that is not full is written after this"`
	Blocks        int           `conf:"blocks" help:"blocks in memory for each worker, 2 to 64"`
	SegmentBytes  kit.Bytes     `conf:"segment_bytes" help:"size of one file"`
	KeyFile       string        `conf:"key_file" help:"file with the key (32 octets, or 64 hexadecimal digits) that packets are encrypted with; empty: plain"`
	API           APIConfig     `conf:"api"`
}

// APIConfig is how kept packets are fetched. Listen empty: only on this machine, from Find.
type APIConfig struct {
	Listen     string        `conf:"listen" help:"host:port for fetching packets; empty: off. Other than loopback needs cert and key"`
	Cert       string        `conf:"cert" help:"PEM file with the server's certificate; read again when it changes"`
	Key        string        `conf:"key" help:"PEM file with its private key"`
	ClientCA   string        `conf:"client_ca" help:"PEM file of the authorities whose client certificates are asked for, besides the token; empty: none is"`
	Tokens     string        `conf:"tokens" help:"file of tokens, one a line: name, sha256 of the token, rights, optional BPF expression; probe token makes lines"`
	Audit      string        `conf:"audit" help:"file that a line is added to for every request; empty: audit.jsonl beside the packets"`
	MaxFetches int           `conf:"max_fetches" help:"fetches at one time"`
	MaxBytes   kit.Bytes     `conf:"max_bytes" help:"packet bytes one fetch may give"`
	Timeout    time.Duration `conf:"timeout" help:"time one fetch may take"`
}

// DefaultConfig keeps nothing until Dir is set; then 10 GiB, a day, and the first
// 64 KiB of each flow: its handshakes, requests and heads. Heavy-tailed traffic has
// nine tenths of its bytes beyond the first tens of kilobytes of its flows (Maier et
// al., Enriching Network Security Analysis with Time Travel, SIGCOMM 2008). Small
// blocks stay in the processor's cache from the capture goroutine to the one that
// compresses them.
func DefaultConfig() Config {
	return Config{
		MaxBytes: 10 << 30, MaxAge: 24 * time.Hour, MinFree: 1 << 30,
		CutoffBytes: 64 << 10, CutoffIdle: time.Minute, CutoffFlows: 1 << 15,
		Compression: "fastest", BlockBytes: 256 << 10, BlockTime: time.Second, Blocks: 16, SegmentBytes: 64 << 20,
		API: APIConfig{MaxFetches: 2, MaxBytes: 1 << 30, Timeout: 10 * time.Minute},
	}
}

// Limits of the configuration.
const (
	minBlockBytes   = 64 << 10
	maxBlockBytes   = 2 << 20
	minSegmentBytes = 256 << 10
	maxSegmentBytes = 1 << 30
	minMaxBytes     = 1 << 20
	maxKept         = 262144 // octets of one frame, libpcap's MAXIMUM_SNAPLEN
)

// Check says what is wrong with cfg without opening anything. Keys are named
// without the prefix that the caller's configuration has.
func (cfg Config) Check() error {
	if cfg.Dir == "" {
		if cfg.API.Listen != "" {
			return kit.Hint(errors.New("api.listen: packets cannot be fetched where none are kept"), "set dir as well")
		}
		return nil
	}
	_, known := levels[cfg.Compression]
	switch {
	case cfg.MaxBytes < minMaxBytes:
		return fmt.Errorf("max_bytes: %s is too little, %s or more is needed", cfg.MaxBytes, kit.Bytes(minMaxBytes))
	case cfg.MaxAge < 0 || cfg.MaxAge > 0 && cfg.MaxAge < time.Second:
		return fmt.Errorf("max_age: %s is not 0, nor 1s or more", cfg.MaxAge)
	case cfg.MinFree < 0:
		return fmt.Errorf("min_free: %s is negative", cfg.MinFree)
	case cfg.CutoffBytes < 0 || cfg.CutoffBytes >= 1<<32:
		return fmt.Errorf("cutoff_bytes: %s is not within 0 and 4 GiB", cfg.CutoffBytes)
	case cfg.CutoffPackets < 0 || cfg.CutoffPackets > maxCutoffPackets:
		return fmt.Errorf("cutoff_packets: %d is not within 0 to %d", cfg.CutoffPackets, maxCutoffPackets)
	case cfg.CutoffIdle < time.Second || cfg.CutoffIdle > 4*time.Hour:
		return fmt.Errorf("cutoff_idle: %s is not within 1s to 4h", cfg.CutoffIdle)
	case cfg.CutoffFlows < 1 || cfg.CutoffFlows > 1<<26:
		return fmt.Errorf("cutoff_flows: %d is not within 1 to %d", cfg.CutoffFlows, 1<<26)
	case cfg.Snaplen < 0:
		return fmt.Errorf("snaplen: %d is negative", cfg.Snaplen)
	case !known:
		return fmt.Errorf("compression: %q is not none, fastest, default or better", cfg.Compression)
	case cfg.BlockBytes < minBlockBytes || cfg.BlockBytes > maxBlockBytes:
		return fmt.Errorf("block_bytes: %s is not within 64KiB to 2MiB", cfg.BlockBytes)
	case cfg.MaxBytes < 8*cfg.BlockBytes:
		return fmt.Errorf("max_bytes: %s is less than eight blocks of %s (block_bytes)", cfg.MaxBytes, cfg.BlockBytes)
	case cfg.BlockTime < time.Millisecond || cfg.BlockTime > time.Minute:
		return fmt.Errorf("block_time: %s is not within 1ms to 1m", cfg.BlockTime)
	case cfg.Blocks < 2 || cfg.Blocks > 64:
		return fmt.Errorf("blocks: %d is not within 2 to 64", cfg.Blocks)
	case cfg.SegmentBytes < minSegmentBytes || cfg.SegmentBytes > maxSegmentBytes:
		return fmt.Errorf("segment_bytes: %s is not within 256KiB to 1GiB", cfg.SegmentBytes)
	}
	return cfg.API.check()
}

// What callers tell apart with errors.Is.
var (
	// ErrNotFound is in errors of Find: no kept packet matches.
	ErrNotFound = errors.New("no kept packet matches")
	// ErrQuery is in errors of Find and of requests: the question makes no sense.
	ErrQuery = errors.New("bad query")
	// ErrLinkTypes is in errors of Find: a pcap file holds frames of one link type
	// only, and those that match have several.
	ErrLinkTypes = errors.New("several link types")
	// ErrWrongKey is in errors of Open: the packets on disk were encrypted with
	// another key.
	ErrWrongKey = errors.New("wrong key")
	// ErrClosed is in errors of a Ring that was closed.
	ErrClosed = errors.New("the ring is closed")
)

// Stats is the state of a Ring. Counts are since Open, without what a Writer has
// not handed over yet (at most a block).
type Stats struct {
	KeptPackets, KeptBytes       uint64 // on disk: packets and their captured octets
	CutPackets, CutBytes         uint64 // beyond their flow's cut-off
	DroppedPackets, DroppedBytes uint64 // the disk lagged, was full or failed
	WrittenBlocks, WrittenBytes  uint64 // as stored
	RemovedSegments              uint64 // by retention
	DamagedBlocks, TornBytes     uint64 // found on disk
	IOErrors                     uint64

	Segments int       // on disk now
	Bytes    int64     // on disk now
	First    time.Time // of the oldest kept packet; zero when there is none
	Last     time.Time // of the newest
}
