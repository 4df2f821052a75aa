package behaviour

import (
	"context"
	_ "embed"
	"fmt"
	"slices"

	"github.com/tapwatch/tapwatch/analyzer/baseline/forest"
	"github.com/tapwatch/tapwatch/analyzer/baseline/model"
	"github.com/tapwatch/tapwatch/analyzer/detect"
)

//go:embed training_hours.sql
var trainingHoursSQL string

// ForestModel is a forest of host-hours, and the limit above which a row is odd.
type ForestModel struct {
	*forest.Forest
	Limit float64 `json:"limit"` // 0.99 of the training rows score at most this
}

// Kind and version of the files; the version is that of features.sql.
const (
	forestKind    = "host_hours_forest"
	forestVersion = 1
)

// LoadForest reads a file that TrainForest made.
func LoadForest(path string) (model.File[ForestModel], error) {
	return model.Load(path, forestKind, forestVersion, func(m ForestModel) error {
		if m.Forest == nil {
			return fmt.Errorf("no forest in it")
		}
		if !slices.Equal(m.Features, FeatureNames()) {
			return fmt.Errorf("features %v, wanted are %v", m.Features, FeatureNames())
		}
		return m.Check()
	})
}

// TrainForest makes a forest of the host-hours of a range, of at most 200 000 of
// them chosen by seed. A fifth of the rows is held back for the evaluation:
// false_share is the share of them that the forest calls odd, recall_N the share it
// calls odd when one feature is N times what it was and at least N hundred.
func TrainForest(ctx context.Context, db detect.DB, own detect.Own, span detect.Window, seed uint64) (model.File[ForestModel], error) {
	m := model.File[ForestModel]{Kind: forestKind, Version: forestVersion, From: span.Start.UTC(), To: span.End.UTC(), Seed: seed}
	hours, err := detect.All[vector](ctx, db, withFeatures(trainingHoursSQL), own.Params().Unix(span).With("seed", detect.Number(seed)))
	if err != nil {
		return m, fmt.Errorf("train forest of host-hours: %w", err)
	}
	rows := make([][]float64, len(hours))
	for i, h := range hours {
		rows[i] = Logs(h.Values)
	}
	held := rows[len(rows)-len(rows)/5:]
	rows = rows[:len(rows)-len(held)]
	c := forest.DefaultConfig()
	c.Seed = seed
	f, err := forest.Train(rows, FeatureNames(), c)
	if err != nil {
		return m, err
	}
	m.Rows, m.Model = len(rows), ForestModel{Forest: f, Limit: limit(f, rows)}
	m.Evaluation = m.Model.evaluate(hours[len(hours)-len(held):])
	return m, nil
}

// limit is what 0.99 of the rows score at most.
func limit(f *forest.Forest, rows [][]float64) float64 {
	scores := make([]float64, len(rows))
	for i, row := range rows {
		scores[i], _ = f.Score(row)
	}
	slices.Sort(scores)
	return scores[int(0.99*float64(len(scores)-1))]
}

// evaluate measures the model on hours that it has not seen.
func (m ForestModel) evaluate(held []vector) map[string]float64 {
	if len(held) == 0 {
		return nil
	}
	odd := func(row []uint64) float64 {
		if score, _ := m.Score(Logs(row)); score > m.Limit {
			return 1
		}
		return 0
	}
	var wrong, ten, thousand float64
	for i, h := range held {
		wrong += odd(h.Values)
		for _, factor := range []uint64{10, 1000} {
			row := slices.Clone(h.Values)
			k := i % len(row)
			row[k] = max(row[k]*factor, 100*factor)
			if factor == 10 {
				ten += odd(row)
			} else {
				thousand += odd(row)
			}
		}
	}
	n := float64(len(held))
	return map[string]float64{"rows": n, "false_share": wrong / n, "recall_10": ten / n, "recall_1000": thousand / n}
}
