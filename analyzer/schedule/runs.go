package schedule

// run is what job_runs knows of a window.
type run struct {
	rows     uint32 // promised when it was judged, modulo 2^32
	revision uint32 // 0: it has not been judged
	closed   bool
}

// runs are those of all windows that were ever judged, by start: a few octets
// each, as steps of seconds over years are millions.
type runs struct {
	step, span int64 // seconds of a window's step, and of a block
	blocks     map[int64]*block
}

type block struct {
	rows     []uint32
	revision []uint16
	closed   []bool
}

func newRuns(step int64) *runs {
	const day = 24 * hour
	return &runs{step: step, span: step * max(1, (day+step-1)/step), blocks: map[int64]*block{}}
}

// get returns the run of the window that begins then.
func (r *runs) get(start int64) run {
	at := floor(start, r.span)
	b := r.blocks[at]
	if b == nil {
		return run{}
	}
	i := (start - at) / r.step
	return run{b.rows[i], uint32(b.revision[i]), b.closed[i]}
}

func (r *runs) set(start int64, v run) {
	at := floor(start, r.span)
	b := r.blocks[at]
	if b == nil {
		n := r.span / r.step
		b = &block{make([]uint32, n), make([]uint16, n), make([]bool, n)}
		r.blocks[at] = b
	}
	i := (start - at) / r.step
	b.rows[i], b.revision[i], b.closed[i] = v.rows, uint16(min(v.revision, 1<<16-1)), v.closed
}
