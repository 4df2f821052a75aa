package flow

// Block gathers records of several batches as columns in the types that
// clickhouse-go appends without conversion. The zero value is not usable; see
// NewBlock.
type Block struct {
	rows    int
	columns []blockColumn
}

// blockColumn is one growing column.
type blockColumn interface {
	add(b *Batch, rows []int)
	values() any
	reset()
}

// NewBlock returns an empty block with one column for each of ColumnNames.
func NewBlock() *Block {
	k := &Block{columns: make([]blockColumn, len(columns))}
	for i, c := range columns {
		k.columns[i] = c.block()
	}
	return k
}

// Add appends the given records of b, in the order given. The strings refer to
// b's memory, so b must not be reused before the block is done with.
func (k *Block) Add(b *Batch, rows []int) {
	for _, c := range k.columns {
		c.add(b, rows)
	}
	k.rows += len(rows)
}

// Rows is the number of records in the block.
func (k *Block) Rows() int { return k.rows }

// Values is column i of ColumnNames as a slice: []uint8 … []uint64, []bool,
// []float32, []string, [][16]byte, []int64 (times, ns since the epoch),
// [][]string, [][]uint16, [][]uint32 or [][]int32. It is valid until the next Add or Reset.
func (k *Block) Values(i int) any { return k.columns[i].values() }

// Reset empties the block and keeps its memory.
func (k *Block) Reset() {
	k.rows = 0
	for _, c := range k.columns {
		c.reset()
	}
}

type valueColumn[T any] struct {
	get  func(*Batch, int) T
	vals []T
}

func (c *valueColumn[T]) add(b *Batch, rows []int) {
	for _, i := range rows {
		c.vals = append(c.vals, c.get(b, i))
	}
}

func (c *valueColumn[T]) values() any { return c.vals }

func (c *valueColumn[T]) reset() {
	clear(c.vals) // let go of strings
	c.vals = c.vals[:0]
}

// addrColumn hands out [16]byte rather than Addr, the type that clickhouse-go
// knows.
type addrColumn struct {
	get  func(*Batch, int) Addr
	vals [][16]byte
}

func (c *addrColumn) add(b *Batch, rows []int) {
	for _, i := range rows {
		c.vals = append(c.vals, c.get(b, i))
	}
}

func (c *addrColumn) values() any { return c.vals }
func (c *addrColumn) reset()      { c.vals = c.vals[:0] }

// communityKind is stored and shown, not sent: it follows from the key.
type communityKind struct{}

func communityHash() column { return column{"community_hash", "UInt64", communityKind{}} }

func (communityKind) lay(*layout, string)         {}
func (communityKind) check(*Batch, int) error     { return nil }
func (communityKind) decode(*Batch, int, *Record) {}

func (communityKind) block() blockColumn {
	return &valueColumn[uint64]{get: func(b *Batch, i int) uint64 {
		return CommunityHash(b.address(at(b.pb.SrcIp, i)), b.address(at(b.pb.DstIp, i)),
			uint16(at(b.pb.SrcPort, i)), uint16(at(b.pb.DstPort, i)), uint8(at(b.pb.Protocol, i)))
	}}
}

// json leaves what is not IP without one: the specification knows IP only.
func (communityKind) json(dst []byte, r *Record) []byte {
	if r.EtherType != 0 {
		return append(dst, `""`...)
	}
	return appendString(dst, CommunityID(r.SrcIP, r.DstIP, r.SrcPort, r.DstPort, r.Protocol))
}
