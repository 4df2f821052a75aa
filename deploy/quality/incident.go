package quality

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// Incident is what the analyzer has said, as stored.
type Incident struct {
	ID          string    `ch:"id"`
	Detector    string    `ch:"detector"`
	Severity    string    `ch:"severity"`
	Title       string    `ch:"title"`
	Score       float64   `ch:"score"`
	Magnitude   float64   `ch:"magnitude"`
	Actor       string    `ch:"actor"`
	Victim      string    `ch:"victim"`
	Entities    []string  `ch:"entities"`
	Start       time.Time `ch:"start"`
	End         time.Time `ch:"end"`
	WindowStart time.Time `ch:"window_start"`
	WindowEnd   time.Time `ch:"window_end"`

	part string // site of the part it was given to
}

// Incidents reads all of a case that stand, earliest first: not those that were
// taken back, or are explained by another.
func (s *Store) Incidents(ctx context.Context) ([]Incident, error) {
	rows, err := s.db.Query(ctx, `SELECT id, detector, severity, title, score, magnitude, actor, victim, entities, start, end, window_start, window_end
		FROM alerts FINAL WHERE NOT withdrawn AND suppressed_by = '' ORDER BY start, detector, id`)
	if err != nil {
		return nil, fmt.Errorf("read alerts: %w", err)
	}
	list, err := scan[Incident](rows)
	for n := range list {
		if i := &list[n]; err == nil && i.Detector == "scan_digest" {
			err = s.listed(ctx, i)
		}
	}
	return list, err
}

// listed adds the sources in the evidence of a digest to its entities: whoever is
// in the digest is named by it.
func (s *Store) listed(ctx context.Context, i *Incident) error {
	var text string
	var params map[string]string
	if err := s.db.QueryRow(ctx, "SELECT evidence_sql, evidence_params FROM alerts FINAL WHERE id = {id:String}", named("id", i.ID)).Scan(&text, &params); err != nil {
		return fmt.Errorf("read the evidence of %q: %w", i.Title, err)
	}
	args := make([]any, 0, len(params))
	for name, value := range params {
		args = append(args, named(name, value))
	}
	rows, err := s.db.Query(ctx, "SELECT arrayJoin(scanners) AS source FROM ("+text+")", args...)
	if err != nil {
		return fmt.Errorf("ask the evidence of %q: %w", i.Title, err)
	}
	sources, err := scan[struct {
		Source string `ch:"source"`
	}](rows)
	for _, x := range sources {
		i.Entities = append(i.Entities, "source="+x.Source)
	}
	return err
}

func scan[T any](rows driver.Rows) ([]T, error) {
	defer rows.Close()
	var list []T
	for rows.Next() {
		var v T
		if err := rows.ScanStruct(&v); err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	return list, rows.Err()
}

// Serious says whether an incident is of medium severity or more: what an analyst
// is asked to look at.
func (i Incident) Serious() bool {
	return slices.Contains([]string{"medium", "high", "critical"}, i.Severity)
}

// names says whether an incident names one of the addresses, networks or names,
// in the given field or among its entities.
func (i Incident) names(field string, wanted []string) bool {
	said := []string{field}
	for _, e := range i.Entities {
		if _, value, ok := strings.Cut(e, "="); ok {
			said = append(said, value)
		}
	}
	for _, w := range wanted {
		for _, v := range said {
			if same(v, w) {
				return true
			}
		}
	}
	return false
}

// same compares two names; a network holds its addresses.
func same(said, wanted string) bool {
	if said == "" || wanted == "" {
		return false
	}
	if strings.EqualFold(said, wanted) {
		return true
	}
	if within(said, wanted) || within(wanted, said) {
		return true
	}
	// A name with its port, or a name below the one that was meant.
	host, _, _ := strings.Cut(wanted, ":")
	return !strings.Contains(wanted, "::") && (strings.EqualFold(said, host) || strings.HasSuffix(strings.ToLower(said), "."+strings.ToLower(host)))
}

func within(network, address string) bool {
	p, err := netip.ParsePrefix(network)
	if err != nil {
		return false
	}
	if a, err := netip.ParseAddr(address); err == nil {
		return p.Contains(a)
	}
	q, err := netip.ParsePrefix(address)
	return err == nil && p.Overlaps(q)
}
