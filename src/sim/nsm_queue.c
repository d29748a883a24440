#include "sim/nsm_queue.h"

/* Both chains of the request that waits. */
static bool peek(struct nsm_queue *n, struct virtq_chain *request, struct virtq_chain *response)
{
	if (!virtq_peek_at(&n->q, 0, request) || !virtq_peek_at(&n->q, 1, response))
		return false;
	if (request->writable > 0 || response->readable > 0 || request->head == response->head)
		n->q.broken = "a request is one readable chain and one writable chain behind it";
	return n->q.broken == NULL;
}

struct bytes nsm_queue_request(struct nsm_queue *n)
{
	struct virtq_chain request, response;
	return peek(n, &request, &response) ? bytes_of(n->request, virtq_read(&request, 0, n->request, sizeof n->request)) : BYTES_NONE;
}

bool nsm_queue_answer(struct nsm_queue *n, struct bytes answer)
{
	struct virtq_chain request, response;
	/* looked up again: the queue may have been stopped or changed while the answer was made */
	if (!peek(n, &request, &response))
		return false;
	size_t written = virtq_write(&response, 0, answer);
	virtq_take(&n->q);
	virtq_take(&n->q);
	virtq_put(&n->q, request.head, 0);
	virtq_put(&n->q, response.head, (uint32_t)written);
	return virtq_interrupt(&n->q);
}
