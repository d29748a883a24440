#include "enclave/launcher/verdict.h"

#include <signal.h>
#include <string.h>
#include <sys/wait.h>

static void say(struct verdict *v, enum outcome how, const char *text)
{
	v->how = how;
	fail(&v->text, 0, "%s", text);
}

/* The program ran and ended by itself, or by a signal nobody of ours sent. */
static void judge_program(const struct ending *e, struct verdict *v)
{
	int s = e->program_status;
	if (WIFSIGNALED(s)) {
		v->signal = (uint32_t)WTERMSIG(s);
		v->how = OUTCOME_CRASHED;
		fail(&v->text, 0, "the prover program died by signal %d (%s)", WTERMSIG(s), strsignal(WTERMSIG(s)));
	} else if (WEXITSTATUS(s) != 0) {
		v->exit_code = (uint32_t)WEXITSTATUS(s);
		v->how = OUTCOME_PROVER_ERROR;
		fail(&v->text, 0, "the prover program exited with code %d", WEXITSTATUS(s));
	} else if (e->proof_error != 0) {
		say(v, OUTCOME_PROVER_ERROR, e->proof_text);
		return;
	} else {
		v->how = OUTCOME_OK;
		return;
	}
	/* it failed: was it for lack of memory? */
	if (e->oom_kills > 0)
		say(v, OUTCOME_OUT_OF_MEMORY, "the job reached its memory limit and was killed");
	else if (e->rlimit_memory && e->said_no_memory)
		say(v, OUTCOME_OUT_OF_MEMORY, "the prover program could not allocate memory under its limit");
}

static void judge_unexecuted(const struct ending *e, struct verdict *v)
{
	v->how = OUTCOME_PROVER_ERROR;
	fail(&v->text, e->exec_error, "the prover program cannot be executed");
}

void verdict_reach(const struct ending *e, struct verdict *ret)
{
	struct verdict v = { .how = OUTCOME_INTERNAL };

	if (e->doom == DOOM_CANCELLED)
		say(&v, OUTCOME_CANCELLED, "the job was cancelled");
	else if (e->doom == DOOM_DEADLINE)
		say(&v, OUTCOME_TIMED_OUT, "the job reached its deadline and was killed");
	else if (e->doom == DOOM_MEMORY)
		say(&v, OUTCOME_OUT_OF_MEMORY, "the job reached its memory limit and was killed");
	else if (e->broken != NULL)
		say(&v, OUTCOME_INTERNAL, e->broken);
	else if (e->exec_error != 0)
		judge_unexecuted(e, &v);
	else if (e->program_ended)
		judge_program(e, &v);
	else if (e->oom_kills > 0)       /* a group kill takes the keeper along */
		say(&v, OUTCOME_OUT_OF_MEMORY, "the job reached its memory limit and was killed");
	else if (WIFSIGNALED(e->keeper_status))
		fail(&v.text, 0, "the job's keeper died by signal %d", WTERMSIG(e->keeper_status));
	else
		fail(&v.text, 0, "the job's keeper ended with code %d and did not say why", WEXITSTATUS(e->keeper_status));
	*ret = v;
}
