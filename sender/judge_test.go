package sender

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"
)

// TestJudgeEveryStatusWithEveryBody is the table of what answers mean. Every
// status from 100 to 599 is in exactly one row.
func TestJudgeEveryStatusWithEveryBody(t *testing.T) {
	type ruling struct {
		verdict verdict
		result  result
	}
	all := func(v verdict, r result) [4]ruling {
		return [4]ruling{{v, r}, {v, r}, {v, r}, {v, r}}
	}
	kinds := [4]bodyKind{bodyNone, bodyObject, bodyOther, bodyCut}
	rows := []struct {
		from, to int
		want     [4]ruling // none, object, other, cut off
	}{
		{100, 199, all(retry, resultOther)},
		{200, 299, [4]ruling{{delivered, resultDelivered}, {delivered, resultDelivered}, {deny, resultForeign}, {retry, resultCutOff}}},
		{300, 399, all(deny, resultRedirect)},
		{400, 400, [4]ruling{{deny, resultForeign}, {bury, resultRejected}, {deny, resultForeign}, {retry, resultCutOff}}},
		{401, 401, all(deny, resultUnauthorized)},
		{402, 402, all(deny, resultDenied)},
		{403, 403, all(deny, resultForbidden)},
		{404, 404, all(deny, resultNotFound)},
		{405, 405, all(deny, resultDenied)},
		{406, 406, all(retry, resultOther)},
		{407, 407, all(deny, resultProxyAuth)},
		{408, 409, all(retry, resultOther)},
		{410, 410, all(deny, resultNotFound)},
		{411, 412, all(retry, resultOther)},
		{413, 413, [4]ruling{{retry, resultProxyTooLarge}, {bury, resultTooLarge}, {retry, resultProxyTooLarge}, {retry, resultCutOff}}},
		{414, 421, all(retry, resultOther)},
		{422, 422, [4]ruling{{deny, resultForeign}, {bury, resultRejected}, {deny, resultForeign}, {retry, resultCutOff}}},
		{423, 428, all(retry, resultOther)},
		{429, 429, all(retry, resultThrottled)},
		{430, 450, all(retry, resultOther)},
		{451, 451, all(deny, resultDenied)},
		{452, 499, all(retry, resultOther)},
		{500, 599, all(retry, resultServerError)},
	}
	next := 100
	for _, row := range rows {
		if row.from != next {
			t.Fatalf("the table skips from %d to %d", next, row.from)
		}
		next = row.to + 1
		for status := row.from; status <= row.to; status++ {
			for i, kind := range kinds {
				a := answer{status: status, kind: kind}
				if kind == bodyCut {
					a.err = io.ErrUnexpectedEOF
				}
				if v, r := judge(a); (ruling{v, r}) != row.want[i] {
					t.Errorf("status %d, body kind %d: judged %d %s, want %d %s", status, kind, v, r, row.want[i].verdict, row.want[i].result)
				}
			}
		}
	}
	if next != 600 {
		t.Fatalf("the table ends at %d", next-1)
	}
}

func TestJudgeNoAnswer(t *testing.T) {
	for _, c := range []struct {
		err     error
		verdict verdict
		result  result
	}{
		{errors.New("whatever"), retry, resultNetwork},
		{nil, retry, resultNetwork},
		{fmt.Errorf("post: %w", &proxyError{407}), deny, resultProxyAuth},
		{fmt.Errorf("post: %w", &proxyError{403}), deny, resultProxyRefused},
		{fmt.Errorf("post: %w", &proxyError{503}), retry, resultProxyRefused},
		{fmt.Errorf("post: %w", context.DeadlineExceeded), retry, resultTimeout},
		{fmt.Errorf("post: %w", context.Canceled), untried, resultStopped},
	} {
		if v, r := judge(answer{err: c.err}); v != c.verdict || r != c.result {
			t.Errorf("%v: judged %d %s, want %d %s", c.err, v, r, c.verdict, c.result)
		}
	}
}

func TestAnAnswerCutOffByTimeSaysSo(t *testing.T) {
	if v, r := judge(answer{status: 200, kind: bodyCut, err: context.DeadlineExceeded}); v != retry || r != resultTimeoutAnswer {
		t.Errorf("judged %d %s, want %d %s", v, r, retry, resultTimeoutAnswer)
	}
}

func TestEveryResultIsListedOnceAndHasAdvice(t *testing.T) {
	all := results()
	slices.Sort(all)
	if n := len(slices.Compact(slices.Clone(all))); n != len(all) {
		t.Errorf("%d of %d results are distinct", n, len(all))
	}
	for _, r := range all {
		if r.advice() == "" {
			t.Errorf("%s has no advice", r)
		}
	}
}

func TestBodiesAreToldApart(t *testing.T) {
	for content, want := range map[string]bodyKind{
		"": bodyNone, " \r\n": bodyNone,
		"{}": bodyObject, ` {"a":[1]} `: bodyObject,
		"[]": bodyOther, "{": bodyOther, "null": bodyOther, "<html>": bodyOther, "{} {}": bodyOther, `"{}"`: bodyOther,
	} {
		if got := kindOf([]byte(content)); got != want {
			t.Errorf("%q is of kind %d, want %d", content, got, want)
		}
	}
}
