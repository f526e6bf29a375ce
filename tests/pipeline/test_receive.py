from tests.support.stage import URL, Stage


async def test_a_thin_notification_becomes_a_signed_result(stage: Stage) -> None:
    webhook = await stage.add_webhook()
    await stage.add_subscription()
    answer = await stage.accept(webhook, {"response_url": URL})
    await stage.work_until_idle()
    job = await stage.the_job()
    assert job.status == "completed"
    [sent] = stage.subscribers.sent
    assert sent.data["job_id"] == job.id == answer.job_id
